"""Names and shapes of the TensorFlow checkpoints that the authors published, spelled out apart from our tables.

Sources: google-research/electra (run_pretraining.py, model/modeling.py, model/optimization.py) and
laiguokun/Funnel-Transformer (tensorflow/modeling.py, ops.py, pretrain.py).
"""

import numpy as np

from convert.formats import tf_bundle
from tests.convert.drawn import write_drawn

ELECTRA = {  # vocabulary, embedding, hidden, inner, layers; hidden and inner of the generator
    "small": (30522, 128, 256, 1024, 12, 256, 1024),
    "base": (30522, 768, 768, 3072, 12, 256, 1024),
    "large": (30522, 1024, 1024, 4096, 24, 256, 1024),
}
NET_CONFIG = {
    "block_size": "4_4_4",
    "vocab_size": 30522,
    "d_embed": 768,
    "d_model": 768,
    "n_head": 12,
    "d_head": 64,
    "d_inner": 3072,
    "ff_activation": "gelu",
    "dropout": 0.1,
    "dropatt": 0.1,
    "dropact": 0.0,
    "init": "truncated_normal",
    "init_std": 0.02,
    "init_range": 0.1,
    "rel_attn_type": "factorized",
    "separate_cls": True,
    "pooling_type": "mean",
    "pooling_size": 2,
    "pool_q_only": True,
    "decoder_size": "2",
}
LARGE = {"d_embed": 1024, "d_model": 1024, "n_head": 16, "d_inner": 4096}
FUNNEL = {
    "small": NET_CONFIG,
    "medium": NET_CONFIG | {"block_size": "6_3x2_3x2"},
    "intermediate": NET_CONFIG | {"block_size": "6_6_6"},
    "large": NET_CONFIG | LARGE | {"block_size": "8_8_8"},
    "xlarge": NET_CONFIG | LARGE | {"block_size": "10_10_10"},
}


def dense(name, inputs, outputs):
    return {f"{name}/kernel": (inputs, outputs), f"{name}/bias": (outputs,)}


def norm(name, width):
    return {f"{name}/gamma": (width,), f"{name}/beta": (width,)}


def electra_encoder(scope, embedding, hidden, inner, layers):
    shapes = dense(f"{scope}/embeddings_project", embedding, hidden) if embedding != hidden else {}
    for layer in (f"{scope}/encoder/layer_{number}" for number in range(layers)):
        for part in ("query", "key", "value"):
            shapes |= dense(f"{layer}/attention/self/{part}", hidden, hidden)
        shapes |= dense(f"{layer}/attention/output/dense", hidden, hidden)
        shapes |= norm(f"{layer}/attention/output/LayerNorm", hidden)
        shapes |= dense(f"{layer}/intermediate/dense", hidden, inner) | dense(f"{layer}/output/dense", inner, hidden)
        shapes |= norm(f"{layer}/output/LayerNorm", hidden)
    return shapes


def electra(words, embedding, hidden, inner, layers, generator_hidden, generator_inner, positions=512):
    """Name → shape of both models of one checkpoint, without what training leaves there."""
    tables = {"word": words, "position": positions, "token_type": 2}
    return {
        **{f"electra/embeddings/{kind}_embeddings": (count, embedding) for kind, count in tables.items()},
        **norm("electra/embeddings/LayerNorm", embedding),
        **electra_encoder("electra", embedding, hidden, inner, layers),
        **electra_encoder("generator", embedding, generator_hidden, generator_inner, layers),
        **dense("discriminator_predictions/dense", hidden, hidden),
        **dense("discriminator_predictions/dense_1", hidden, 1),
        **dense("generator_predictions/dense", generator_hidden, embedding),
        **norm("generator_predictions/LayerNorm", embedding),
        "generator_predictions/output_bias": (words,),
    }


def funnel(net):
    """Name → shape of one checkpoint by its net_config.json, without the generator and what training leaves there."""
    width, heads, inner = net["d_model"], (net["n_head"], net["d_head"]), net["d_inner"]
    encoder = sum(int(block.partition("x")[0]) for block in net["block_size"].split("_"))
    shapes = {"model/input/word_embedding/lookup_table": (net["vocab_size"], width)}
    shapes |= norm("model/input/layer_norm", width)
    for number in range(encoder + int(net["decoder_size"])):
        layer = f"model/{'encoder' if number < encoder else 'decoder'}/layer_{number}"
        shapes |= {f"{layer}/rel_attn/{part}/kernel": (width, *heads) for part in "qkvr"}
        shapes |= {f"{layer}/rel_attn/{part}/bias": heads for part in "kv"}
        shapes |= {f"{layer}/rel_attn/r_{part}_bias": heads for part in "wrs"}
        shapes |= {f"{layer}/rel_attn/seg_embed": (2, *heads), f"{layer}/rel_attn/o/kernel": (*heads, width)}
        shapes |= {f"{layer}/rel_attn/o/bias": (width,)} | norm(f"{layer}/rel_attn/layer_norm", width)
        shapes |= dense(f"{layer}/ff/layer_1", width, inner) | dense(f"{layer}/ff/layer_2", inner, width)
        shapes |= norm(f"{layer}/ff/layer_norm", width)
    return shapes


def trained(shapes):
    """The same checkpoint as training leaves it, with the moments of each tensor and the number of steps."""
    moments = {f"{name}/{kind}": shape for name, shape in shapes.items() for kind in ("adam_m", "adam_v")}
    return shapes | moments | {"global_step": ()}


def arrays(shapes, seed=0):
    """Small random values for each name."""
    generator = np.random.default_rng(seed)
    return {name: generator.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}


def write_bundle(folder, state, shards=1):
    """Write a state as a bundle of so many data files."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(state)
    described = [
        {name: (state[name].dtype.name, state[name].shape) for name in names[at::shards]} for at in range(shards)
    ]
    write_drawn(folder, tf_bundle.draw(described, {}), state)
    return folder
