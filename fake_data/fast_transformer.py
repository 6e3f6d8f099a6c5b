"""Fast Transformer (lucidrains' Fastformer): no token types, and lucidrains' words for sizes.

Scores come from a single vector for all layers, which meets states of unit scale: its own scale is that of the scores.
The layers only add to what they are given, so their gains are low.
"""

from collections.abc import Mapping

from fake_data.fields import TASKS
from fake_data.spec import Config, Spec, Weight

_POOLED = "its pooler counts padding (pool_padding)"


def not_invariant(config: Config) -> Mapping[str, str]:
    return {"padding": _POOLED, "tokens under padding": _POOLED} if config["pool_padding"] else {}


SPEC = Spec(
    tasks={name: TASKS[name] for name in ("masked_lm", "sequence_classification", "backbone")},
    special_tokens={"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    words={"vocab_size": "num_tokens"},
    length_limit="max_seq_len",
    types=False,
    not_invariant=not_invariant,
    weights=(
        Weight(r"(.*\.)?(token|abs_pos)_emb\.weight", std=1.0),
        Weight(r".*\.norm\.weight|to_logits\.0\.weight", std=0.1, mean=1.0),
        Weight(r".*\.norm\.bias|to_logits\.0\.bias", std=0.1),
        Weight(r".*\.to_qkv\.weight", std=1.0, fan_in=1),
        Weight(r".*\.to_q_attn_logits\.weight", std=2.5, saturated=16.0),
        Weight(r".*\.to_k_attn_logits\.weight", std=4.6, saturated=16.0),
        Weight(r".*\.to_r\.weight", std=1.0, fan_in=1),
        Weight(r".*\.(to_out|fn\.2)\.weight", std=0.5, fan_in=1),
        Weight(r".*\.fn\.0\.weight", std=1.0, fan_in=1),
        Weight(r".*\.att_fc[12]\.weight", std=1.0, fan_in=1),
        Weight(r"to_logits\.1\.weight|dense_linear\.weight", std=1.0, fan_in=1, saturated=64.0),
        Weight(r".*\.bias", std=0.1),
    ),
)
