"""GAU-α: token types 0 and 1, positions by rotation only, so no bound on the length; no bias but in the heads.

Query and key are one vector, scaled twice: scales of both signs keep every token from attending to itself above all.
Units have gains below 1: with larger ones all tokens of a sequence become the same vector within a dozen layers.
"""

from fake_data.fields import TASKS
from fake_data.spec import Spec, Weight

_WITHOUT = {"replaced_token"}

SPEC = Spec(
    tasks={name: task for name, task in TASKS.items() if name not in _WITHOUT},
    special_tokens={"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    weights=(
        # The word embedding is also the output matrix. Both tables are saturated, since the norm behind them undoes the
        # factor on the way in: only the logits grow.
        Weight(r"(.*\.)?word_embeddings\.weight|(.*\.)?decoder\.weight", std=2.0, fan_in=1, saturated=32.0),
        Weight(r"(.*\.)?token_type_embeddings\.weight", std=1.0, fan_in=1, saturated=32.0),
        Weight(r".*\.i_dense\.weight", std=1.5, fan_in=1),
        Weight(r".*\.q_scaleoffset\.weight", std=1.7, saturated=16.0),
        Weight(r".*\.q_scaleoffset\.bias", std=0.1, saturated=16.0),
        Weight(r".*\.k_scaleoffset\.weight", std=0.3, mean=2.2),
        Weight(r".*\.o_dense\.weight", std=1.0, fan_in=1),
        Weight(r"(.*\.)?(classifier|qa_outputs)\.weight", std=1.0, fan_in=1, saturated=64.0),
        Weight(r".*\.(i_dense|k_scaleoffset|o_dense)\.bias|(.*\.)?(classifier|qa_outputs)\.bias", std=0.1),
    ),
)
