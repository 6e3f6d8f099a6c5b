"""For each architecture, what tests/convert/test_references.py converts for the references and back.

`referenced/NAME.py` declares `CONFIG`, a small transformers configuration with sizes that differ pairwise; `HEADS`, the
classes (transformers', PaddleNLP's) of the same head; and `PADDLENLP_OPTIONS` where PaddleNLP's forward needs some.
`THEIRS` is a pattern of names that only one of the references has and makes by itself where a file lacks them.
"""
