"""RoFormer: positions only turn queries and keys, so there is no bound on the length and no table of positions.

Weights carry the names of transformers' checkpoints; a pooler is there only where the configuration has one. Sublayers
have gains below 1: with larger ones all tokens of a sequence become the same vector within a dozen layers.
"""

from fake_data.fields import TASKS
from fake_data.spec import Spec, Weight

_INNER = r"(.*\.)?(intermediate|embeddings_project|transform)(\.dense)?"
_SUBLAYER_END = r".*\.(value|output\.dense)"
_HEAD = r"(.*\.)?(classifier\.dense|sequence_summary\.summary|pooler\.dense)"
_OUTPUT = r"(.*\.)?(out_proj|classifier|qa_outputs)"

SPEC = Spec(
    tasks={name: task for name, task in TASKS.items() if name != "replaced_token"},
    special_tokens={"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    weights=(
        # The word embedding is also the output matrix: the logits' standard deviation is about the gain.
        Weight(r"(.*\.)?word_embeddings\.weight|(.*\.)?decoder\.weight", std=2.0, fan_in=1),
        Weight(r"(.*\.)?token_type_embeddings\.weight", std=1.0, fan_in=1),
        # In front of the tied output matrix: saturates the logits without touching the embedding.
        Weight(r"(.*\.)?transform\.LayerNorm\.weight", std=0.1, mean=1.0, saturated=16.0),
        Weight(r"(.*\.)?transform\.LayerNorm\.bias", std=0.1, saturated=16.0),
        Weight(r"(.*\.)?LayerNorm\.weight", std=0.1, mean=1.0),
        Weight(r"(.*\.)?LayerNorm\.bias", std=0.1),
        Weight(r".*\.query\.weight", std=1.5, fan_in=1, saturated=16.0),
        Weight(r".*\.query\.bias", std=0.1, saturated=16.0),
        Weight(r".*\.key\.weight", std=1.5, fan_in=1),
        Weight(rf"{_SUBLAYER_END}\.weight", std=0.6, fan_in=1),
        Weight(rf"{_INNER}\.weight", std=0.9, fan_in=1),
        Weight(rf"{_HEAD}\.weight", std=2.0, fan_in=1),
        Weight(rf"{_OUTPUT}\.weight", std=1.0, fan_in=1, saturated=64.0),
        Weight(rf"{_SUBLAYER_END}\.bias|.*\.key\.bias|{_INNER}\.bias", std=0.1),
        Weight(rf"{_HEAD}\.bias|{_OUTPUT}\.bias|(.*\.)?(predictions|decoder)\.bias", std=0.1),
    ),
)
