"""Funnel-Transformer: the first token has type 2, there are no learned positions, so no bound on the length.

Attention adds three products with the same query, (q + r_w_bias)·k, (q + r_r_bias)·(R·r_kernel) and
(q + r_s_bias)·seg_embed; their gains are chosen so that each matters. Sublayers have gains below 1: with larger ones
all tokens of a sequence become the same vector within a dozen layers.
"""

from fake_data.fields import TASKS, Task
from fake_data.spec import Spec, Weight

_SUBLAYER_END = r".*\.(v_head|post_proj|linear_2)"
_HEAD = r"(.*\.)?(linear_hidden|discriminator_predictions\.dense)"
_OUTPUT = r"(.*\.)?(dense_prediction|linear_out|classifier|qa_outputs)"
_POOLED = "pooling joins the last token with the pad behind it"

SPEC = Spec(
    tasks={**TASKS, "encoder": Task()},
    special_tokens={"pad": "<pad>", "unk": "<unk>", "cls": "<cls>", "sep": "<sep>", "mask": "<mask>"},
    cls_type=2,
    constants={"type_vocab_size": 3},
    not_invariant={"padding": _POOLED, "tokens under padding": _POOLED},
    weights=(
        # Also the output matrix of the language model. Saturated as a whole, since the norm behind the embedding
        # undoes the factor on the way in: only the logits grow.
        Weight(r"(.*\.)?word_embeddings\.weight|(.*\.)?lm_head\.weight", std=1.0, fan_in=1, saturated=32.0),
        Weight(r"(.*\.)?layer_norm\.weight", std=0.1, mean=1.0),
        Weight(r"(.*\.)?layer_norm\.bias", std=0.1),
        # The decoder begins with the sum of two normed sequences, which is not normed again.
        Weight(r"(.*\.)?decoder\.layers\.0\.attention\.q_head\.weight", std=0.7, fan_in=1, saturated=16.0),
        Weight(r".*\.q_head\.weight", std=1.3, fan_in=1, saturated=16.0),
        Weight(r".*\.k_head\.weight", std=1.3, fan_in=1),
        Weight(r".*\.r_kernel", std=1.3, fan_in=0),
        Weight(r".*\.seg_embed", std=0.6),
        Weight(r".*\.r_[wrs]_bias", std=0.4),
        Weight(rf"{_SUBLAYER_END}\.weight", std=0.6, fan_in=1),
        Weight(r".*\.linear_1\.weight", std=0.9, fan_in=1),
        Weight(rf"{_HEAD}\.weight", std=2.0, fan_in=1),
        Weight(rf"{_OUTPUT}\.weight", std=1.0, fan_in=1, saturated=64.0),
        Weight(rf"{_SUBLAYER_END}\.bias|.*\.(k_head|linear_1)\.bias", std=0.1),
        Weight(rf"{_HEAD}\.bias|{_OUTPUT}\.bias|(.*\.)?lm_head\.bias", std=0.1),
    ),
)
