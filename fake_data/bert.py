"""BERT: token types 0 and 1, learned positions, and two tasks of its own about whether one text follows another.

Weights carry the names of transformers' checkpoints. Sublayers have gains below 1: with larger ones all tokens of a
sequence become the same vector within a dozen layers.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from fake_data.fields import CLASSES, MASKED_IDS, TASKS, Task
from fake_data.rows import Rows
from fake_data.spec import Spec, Weight


def _order(rows: Rows, sizes: Mapping[str, int], seed: int) -> np.ndarray:
    """0 and 1 among the examples, one of which is ignored."""
    return CLASSES.make(rows, {**sizes, "num_labels": 2}, seed)


ORDER = replace(CLASSES, bound=2, make=_order, hint="write 0 where the second text follows the first, 1 where not")
WORDS_AND_ORDER = (MASKED_IDS, replace(ORDER, name="next_sentence_label"))
SHARED = ("backbone", "masked_lm", "sequence_classification", "token_classification", "question_answering")

_SUBLAYER_END = r".*\.(value|output\.dense)"
_INNER = r".*\.(intermediate|transform)\.dense"
_POOLER = r"(.*\.)?pooler\.dense"
_OUTPUT = r"(.*\.)?(classifier|qa_outputs|seq_relationship)"
_DECODER_BIAS = r"cls\.predictions\.(decoder\.)?bias"

SPEC = Spec(
    tasks={
        **{name: TASKS[name] for name in (*SHARED, "multiple_choice")},
        "next_sentence": Task((ORDER,)),
        "masked_lm_and_next_sentence": Task(WORDS_AND_ORDER, masked=True),
    },
    special_tokens={"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    length_limit="max_position_embeddings",
    weights=(
        # The word embedding is also the output matrix: the logits' standard deviation is about the gain.
        Weight(r"(.*\.)?word_embeddings\.weight|cls\.predictions\.decoder\.weight", std=2.0, fan_in=1),
        Weight(r"(.*\.)?(position|token_type)_embeddings\.weight", std=1.0, fan_in=1),
        # In front of the tied output matrix: saturates the logits without touching the embedding.
        Weight(r".*\.transform\.LayerNorm\.weight", std=0.1, mean=1.0, saturated=16.0),
        Weight(r".*\.transform\.LayerNorm\.bias", std=0.1, saturated=16.0),
        Weight(r"(.*\.)?LayerNorm\.weight", std=0.1, mean=1.0),
        Weight(r"(.*\.)?LayerNorm\.bias", std=0.1),
        Weight(r".*\.query\.weight", std=1.5, fan_in=1, saturated=16.0),
        Weight(r".*\.query\.bias", std=0.1, saturated=16.0),
        Weight(r".*\.key\.weight", std=1.5, fan_in=1),
        Weight(rf"{_SUBLAYER_END}\.weight", std=0.6, fan_in=1),
        Weight(rf"{_INNER}\.weight", std=0.9, fan_in=1),
        Weight(rf"{_POOLER}\.weight", std=1.0, fan_in=1),
        Weight(rf"{_OUTPUT}\.weight", std=1.5, fan_in=1, saturated=64.0),
        Weight(rf"{_SUBLAYER_END}\.bias|.*\.key\.bias|{_INNER}\.bias|{_POOLER}\.bias", std=0.1),
        Weight(rf"{_OUTPUT}\.bias|{_DECODER_BIAS}", std=0.1),
    ),
)
