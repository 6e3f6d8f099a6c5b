"""For each architecture, what tests/convert/test_references.py converts for the references and back.

`referenced/NAME.py` declares `CONFIG`, a small transformers configuration with sizes that differ pairwise; `HEADS`, the
classes (transformers', PaddleNLP's) of the same head. Where PaddleNLP needs more, `PADDLENLP_OPTIONS` are its
forward's, `PADDLENLP_CONFIG` its configuration's, and `PADDLENLP_UNUSED` names the parameters that only its class has,
by transformers' class.
"""
