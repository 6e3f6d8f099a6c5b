"""Funnel-Transformer. Three layouts have the same names; Paddle's transpose the Linear weights and nothing else.

The relative-attention parameters (`r_kernel` (D, n, d), the r_*_bias (n, d), `seg_embed` (2, n, d)) are no Linear
weights. The authors' TensorFlow code keeps the heads apart in all weights of attention, and numbers the layers through,
those of the decoder after the encoder's.
"""

from collections.abc import Mapping
from typing import Any

from convert.errors import ConvertError
from convert.ops import Alias, Reshape
from convert.originals import Original, count
from convert.rules import (
    Config,
    Pairs,
    Rule,
    Rules,
    drop,
    identity,
    keep,
    linear,
    norm,
    own_names,
    required,
    tf_linear,
    tf_norm,
    training_state,
    under,
)

LAYER: Rules = (
    *keep("attention.r_w_bias"),
    *keep("attention.r_r_bias"),
    *keep("attention.r_kernel"),
    *keep("attention.r_s_bias"),
    *keep("attention.seg_embed"),
    *linear("attention.q_head", bias=False),
    *linear("attention.k_head"),
    *linear("attention.v_head"),
    *linear("attention.post_proj"),
    *norm("attention.layer_norm"),
    *linear("ffn.linear_1"),
    *linear("ffn.linear_2"),
    *norm("ffn.layer_norm"),
)

MODEL: Rules = (
    *keep("embeddings.word_embeddings.weight"),
    *norm("embeddings.layer_norm"),
    *under("encoder.blocks.{}.{}.", LAYER),
    *under("decoder.layers.{}.", LAYER),
)

HEADS: Rules = (
    *keep("lm_head.bias"),
    *linear("discriminator_predictions.dense"),
    *linear("discriminator_predictions.dense_prediction"),
    *linear("classifier.linear_hidden"),  # sequence classification, multiple choice
    *linear("classifier.linear_out"),
    *linear("classifier"),  # token classification
    *linear("qa_outputs"),
)

DECODER = Rule(  # (V, D) in every layout: the embedding's own tensor, also where PaddleNLP calls it a Linear
    "lm_head.weight",
    "lm_head.weight",
    Alias(of="funnel.embeddings.word_embeddings.weight", beside="lm_head.bias", option="tie_word_embeddings"),
)

PADDLENLP: Rules = (*MODEL, *under("funnel.", MODEL), *HEADS, DECODER)


def tf_heads(name: str, target: str) -> Rules:
    """A projection to all heads, and its bias."""
    weight = Reshape("(n_head d_head) d_model", "d_model n_head d_head")
    bias = Reshape("(n_head d_head)", "n_head d_head")
    return Rule(f"{name}.weight", f"{target}/kernel", weight), Rule(f"{name}.bias", f"{target}/bias", bias)


def encoder_layers(config: Config) -> Pairs:
    """(block, layer in the block) and the layer's number in TensorFlow."""
    sizes = required(config, "block_sizes")
    places = ((block, layer) for block, size in enumerate(sizes) for layer in range(size))
    return tuple((place, (number,)) for number, place in enumerate(places))


def decoder_layers(config: Config) -> Pairs:
    """A layer's number in the decoder, and in TensorFlow."""
    first = sum(required(config, "block_sizes"))
    return tuple(((layer,), (first + layer,)) for layer in range(required(config, "num_decoder_layers")))


TF_LAYER: Rules = (
    *keep("attention.r_w_bias", "rel_attn/r_w_bias"),
    *keep("attention.r_r_bias", "rel_attn/r_r_bias"),
    *keep("attention.r_kernel", "rel_attn/r/kernel"),
    *keep("attention.r_s_bias", "rel_attn/r_s_bias"),
    *keep("attention.seg_embed", "rel_attn/seg_embed"),
    tf_heads("attention.q_head", "rel_attn/q")[0],
    *tf_heads("attention.k_head", "rel_attn/k"),
    *tf_heads("attention.v_head", "rel_attn/v"),
    Rule(
        "attention.post_proj.weight",
        "rel_attn/o/kernel",
        Reshape("d_model (n_head d_head)", "n_head d_head d_model"),
    ),
    *keep("attention.post_proj.bias", "rel_attn/o/bias"),
    *tf_norm("attention.layer_norm", "rel_attn/layer_norm"),
    *tf_linear("ffn.linear_1", "ff/layer_1"),
    *tf_linear("ffn.linear_2", "ff/layer_2"),
    *tf_norm("ffn.layer_norm", "ff/layer_norm"),
)

WHOLE, ENCODER = "FunnelModel", "FunnelBaseModel"
HEAD = "a head of pre-training, which neither transformers nor we have"

TF: Rules = (
    *keep("embeddings.word_embeddings.weight", "model/input/word_embedding/lookup_table"),
    *tf_norm("embeddings.layer_norm", "model/input/layer_norm"),
    *under("encoder.blocks.{}.{}.", TF_LAYER, "model/encoder/layer_{}/", numbers=encoder_layers),
    *under("decoder.layers.{}.", TF_LAYER, "model/decoder/layer_{}/", numbers=decoder_layers, only=(WHOLE,)),
    *drop("model/decoder/*", "the decoder, which --part encoder leaves out", only=(ENCODER,)),
    *drop("generator/*", "the generator of pre-training"),
    *drop("model/lm_proj/*", HEAD),
    *drop("model/lm_loss/*", HEAD),
    *drop("model/binary_proj/*", HEAD),
    *drop("model/binary_loss/*", f"{HEAD}: its 1 means original"),
    *training_state(),
)

LAYOUTS: dict[str, Rules] = {
    "paddle": own_names(PADDLENLP),
    "paddlenlp": PADDLENLP,
    "transformers": identity(PADDLENLP),
    "tf": TF,
}


NET_CONFIG = "net_config.json"
PARTS = {"backbone": WHOLE, "encoder": ENCODER}
ATTENTION = {"factorized": "relative_shift", "rel_shift": "relative_shift"}  # one function; factorized is for TPUs
ACTIVATIONS = {"gelu": "gelu_new"}  # theirs is the approximation by tanh


def derive(shapes: Mapping[str, tuple[int, ...]], original: Config, part: str | None) -> dict[str, Any]:
    """config.json of one of the authors' checkpoints, from its net_config.json."""
    sizes, repeats = zip(*map(_depth, original["block_size"].split("_")), strict=True)
    decoder, again = _depth(original["decoder_size"])
    supported = {
        "d_embed": original["d_embed"] == original["d_model"],
        "decoder_size": again == 1,
        "pooling_size": original.get("pooling_size", 2) == 2,
        "rel_attn_type": original["rel_attn_type"] in ATTENTION,
    }
    held = count(shapes, "model/decoder/layer_{}/ff/layer_1/kernel")
    if part == "backbone" and not held:
        raise ConvertError("holds no decoder; --part encoder takes what there is")
    if refused := [f"{name} {original[name]!r}" for name, known in supported.items() if not known]:
        raise ConvertError(f"{NET_CONFIG} asks for another network than ours: {', '.join(refused)}")
    normal = original.get("init", "truncated_normal") != "uniform"
    return {
        "model_type": "funnel",
        "architectures": [PARTS[part] if part else WHOLE if held else ENCODER],
        "vocab_size": original["vocab_size"],
        "block_sizes": list(sizes),
        "block_repeats": list(repeats),
        "num_decoder_layers": decoder,
        **{name: original[name] for name in ("d_model", "n_head", "d_head", "d_inner", "pooling_type")},
        "hidden_act": ACTIVATIONS.get(original["ff_activation"], original["ff_activation"]),
        "hidden_dropout": original["dropout"],
        "attention_dropout": original["dropatt"],
        "activation_dropout": original["dropact"],
        "initializer_range": 0.1,
        "initializer_std": original.get("init_std", 0.02) if normal else None,
        "layer_norm_eps": 1e-8,  # as their code has it (ops.py); transformers took 1e-9 from their PyTorch example
        "attention_type": ATTENTION[original["rel_attn_type"]],
        "separate_cls": original["separate_cls"],
        "pool_q_only": original["pool_q_only"],
        "truncate_seq": True,
    }


def _depth(text: str) -> tuple[int, int]:
    """Layers and repeats of "3x2", or of "3"."""
    layers, _, repeats = text.partition("x")
    return int(layers), int(repeats or 1)


ORIGINAL = Original("model/input/word_embedding/lookup_table", derive, NET_CONFIG, PARTS)
