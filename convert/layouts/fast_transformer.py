"""Fast Transformer. Both ports have our names: lucidrains' in PyTorch, the Amazon reproduction's in either framework.

The projections to the scores are one tensor for all layers, which files hold under the name of each or of the first.
"""

from convert.ops import Alias, Linear
from convert.rules import Config, Pairs, Rule, Rules, drop, identity, keep, linear, norm, under

DEEPEST = 64  # layers, where the configuration does not say

LAYER: Rules = (
    *norm("0.norm"),
    *linear("0.fn.to_qkv", bias=False),
    *linear("0.fn.to_r"),
    *linear("0.fn.to_out"),
    *norm("1.norm"),
    *linear("1.fn.0"),
    *linear("1.fn.2"),
)


def later_layers(config: Config) -> Pairs:
    """The numbers of all layers but the first, which both sides count alike."""
    return tuple(((layer,), (layer,)) for layer in range(1, config.get("depth", DEEPEST)))


def shared(prefix: str, name: str) -> Rules:
    """A projection of the first layer, which all others have as well."""
    first, other = (f"{prefix}layers.{layer}.0.fn.{name}" for layer in ("0", "{}"))
    tied = Alias(of=f"{first}.weight", beside=f"{prefix}layers.{{}}.0.fn.to_qkv.weight", op=Linear())
    also = Rule(f"{other}.weight", f"{other}.weight", tied, numbers=later_layers)
    return (*linear(first, bias=False), also)


def body(prefix: str) -> Rules:
    return (
        *keep(f"{prefix}token_emb.weight"),
        *keep(f"{prefix}abs_pos_emb.weight"),
        *under(f"{prefix}layers.{{}}.", LAYER),
        *shared(prefix, "to_q_attn_logits"),
        *shared(prefix, "to_k_attn_logits"),
    )


RULES: Rules = (
    *body(""),
    *norm("to_logits.0"),  # the language model
    *linear("to_logits.1"),
    *body("fastformer_model."),  # the classifier
    *linear("fastformer_model.pooler.att_fc1"),
    *linear("fastformer_model.pooler.att_fc2"),
    *linear("dense_linear"),
)

LAYOUTS: dict[str, Rules] = {
    "paddle": RULES,
    "transformers": (  # transformers has no such model: the ports' own files in PyTorch
        *identity(RULES),
        *drop("*.pos_emb.freqs", "lucidrains' rotary frequencies, which follow from dim_head"),
    ),
}
