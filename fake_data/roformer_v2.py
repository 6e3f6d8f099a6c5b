"""RoFormerV2: positions only turn queries and keys, so no bound on the length; no bias unless an option says so.

Its norms have no parameters, and the word embedding is the whole head of the language model. Sublayers have gains below
1: with larger ones all tokens of a sequence become the same vector within a dozen layers.
"""

from fake_data.fields import TASKS
from fake_data.spec import Spec, Weight

_SUBLAYER_END = r".*\.(value|output\.dense)"
_OUTPUT = r"(.*\.)?(out_proj|classifier|qa_outputs)"

SPEC = Spec(
    tasks={name: task for name, task in TASKS.items() if name != "replaced_token"},
    special_tokens={"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    weights=(
        # The word embedding is also the output matrix. Both tables are saturated, since the norm behind them undoes the
        # factor on the way in: only the logits grow.
        Weight(r"(.*\.)?word_embeddings\.weight|(.*\.)?decoder\.weight", std=2.0, fan_in=1, saturated=32.0),
        Weight(r"(.*\.)?token_type_embeddings\.weight", std=1.0, fan_in=1, saturated=32.0),
        Weight(r".*\.query\.weight", std=1.5, fan_in=1, saturated=16.0),
        Weight(r".*\.query\.bias", std=0.1, saturated=16.0),
        Weight(r".*\.key\.weight", std=1.5, fan_in=1),
        Weight(rf"{_SUBLAYER_END}\.weight", std=0.8, fan_in=1),
        Weight(r".*\.intermediate\.dense\.weight", std=1.2, fan_in=1),
        Weight(r"(.*\.)?classifier\.dense\.weight", std=2.0, fan_in=1),
        Weight(rf"{_OUTPUT}\.weight", std=1.0, fan_in=1, saturated=64.0),
        Weight(rf"{_SUBLAYER_END}\.bias|.*\.(key|intermediate\.dense)\.bias", std=0.1),
        Weight(rf"(.*\.)?classifier\.dense\.bias|{_OUTPUT}\.bias|(.*\.)?decoder\.bias", std=0.1),
    ),
)
