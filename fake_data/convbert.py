"""ConvBERT: ELECTRA's tasks; kernels of convolutions that choose among their places as attention does among tokens.

Weights carry the names of transformers' checkpoints; the joint model's are the same under a prefix. Sublayers have
gains below 1, as ELECTRA's.
"""

from dataclasses import replace

from fake_data.fields import MASKED_IDS, NOISE, TASKS, Task
from fake_data.spec import Spec, Weight

_INNER = r"(.*\.)?(intermediate\.dense|embeddings_project|generator_predictions\.dense)"
_SUBLAYER_END = r".*\.(value|conv_out_layer|output\.dense)"
_HEAD = r"(.*\.)?((classifier|discriminator_predictions|pooler)\.dense|sequence_summary\.summary)"
_OUTPUT = r"(.*\.)?(dense_prediction|out_proj|classifier|qa_outputs)"
_DECODER = r"(.*\.)?generator_lm_head"
_KERNEL_KEY = r".*\.key_conv_attn_layer"
_CONVOLVED = "its convolutions know no mask: what follows the last token is its neighbour, be it padding or nothing"

SPEC = Spec(
    tasks={**TASKS, "pretraining": Task((replace(MASKED_IDS, label=False), NOISE), masked=True)},
    special_tokens={"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    length_limit="max_position_embeddings",
    not_invariant={"padding": _CONVOLVED, "tokens under padding": _CONVOLVED},
    weights=(
        # The word embedding is also the output matrix: the logits' standard deviation is about the gain.
        Weight(rf"(.*\.)?word_embeddings\.weight|{_DECODER}\.weight", std=2.0, fan_in=1),
        Weight(r"(.*\.)?(position|token_type)_embeddings\.weight", std=1.0, fan_in=1),
        # In front of the tied output matrix: saturates the logits without touching the embedding.
        Weight(r"(.*\.)?generator_predictions\.LayerNorm\.weight", std=0.1, mean=1.0, saturated=16.0),
        Weight(r"(.*\.)?generator_predictions\.LayerNorm\.bias", std=0.1, saturated=16.0),
        Weight(r"(.*\.)?LayerNorm\.weight", std=0.1, mean=1.0),
        Weight(r"(.*\.)?LayerNorm\.bias", std=0.1),
        # The kernels' logits are a product with the query, which saturates them too.
        Weight(r".*\.query\.weight", std=1.5, fan_in=1, saturated=16.0),
        Weight(r".*\.query\.bias", std=0.1, saturated=16.0),
        Weight(r".*\.key\.weight", std=1.5, fan_in=1),
        Weight(rf"{_KERNEL_KEY}\.depthwise\.weight", std=1.0, fan_in=2),
        Weight(rf"{_KERNEL_KEY}\.pointwise\.weight", std=1.0, fan_in=1),
        Weight(r".*\.conv_kernel_layer\.weight", std=1.6, fan_in=1),
        Weight(rf"{_SUBLAYER_END}\.weight", std=0.6, fan_in=1),
        Weight(rf"{_INNER}\.weight", std=0.9, fan_in=1),
        Weight(r"sequence_summary\.summary\.weight", std=2.8, fan_in=1),
        Weight(rf"{_HEAD}\.weight", std=2.0, fan_in=1),
        Weight(rf"{_OUTPUT}\.weight", std=1.0, fan_in=1, saturated=64.0),
        Weight(rf"{_SUBLAYER_END}\.bias|.*\.key\.bias|{_KERNEL_KEY}\.bias|.*\.conv_kernel_layer\.bias", std=0.1),
        Weight(rf"{_INNER}\.bias|{_HEAD}\.bias|{_OUTPUT}\.bias|{_DECODER}\.bias", std=0.1),
    ),
)
