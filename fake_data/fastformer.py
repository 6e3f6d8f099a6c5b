"""Fastformer, the authors' own: no token types. One Linear makes the scores of all heads, which are divided by √d."""

from fake_data.fields import TASKS
from fake_data.spec import Spec, Weight

_SUBLAYER_END = r".*\.output\.dense"

SPEC = Spec(
    tasks={name: TASKS[name] for name in ("sequence_classification", "backbone")},
    special_tokens={"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    length_limit="max_position_embeddings",
    types=False,
    weights=(
        Weight(r"word_embedding\.weight|.*\.position_embeddings\.weight", std=1.0),
        Weight(r".*\.LayerNorm\.weight", std=0.1, mean=1.0),
        Weight(r".*\.LayerNorm\.bias", std=0.1),
        Weight(r".*\.(query|key)\.weight", std=1.0, fan_in=1),
        Weight(r".*\.query_att\.weight", std=7.0, fan_in=1, saturated=16.0),
        Weight(r".*\.key_att\.weight", std=12.0, fan_in=1, saturated=8.0),
        Weight(r".*\.transform\.weight", std=1.0, fan_in=1),
        Weight(rf"{_SUBLAYER_END}\.weight", std=0.6, fan_in=1),
        Weight(r".*\.intermediate\.dense\.weight", std=0.9, fan_in=1),
        Weight(r".*\.att_fc[12]\.weight", std=1.0, fan_in=1),
        Weight(r"dense_linear\.weight", std=1.0, fan_in=1, saturated=64.0),
        Weight(r".*\.bias", std=0.1),
    ),
)
