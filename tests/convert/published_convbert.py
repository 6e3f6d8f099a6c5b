"""Names and shapes of the TensorFlow checkpoints that ConvBERT's authors published, spelled out apart from our tables.

Source: yitu-opensource/ConvBert (run_pretraining.py, model/modeling.py, util/training_utils.py).
"""

from dataclasses import dataclass

from tests.convert.published import dense, norm


@dataclass(frozen=True)
class Net:
    """One encoder; the feed-forward is four times as wide as the hidden states."""

    hidden: int
    heads: int  # of its attention, as many again are convolutions
    width: int  # of a head
    groups: int = 1
    layers: int = 12


# embedding, discriminator, generator; the generator of the small model has a single head of the whole width
CONVBERT = {
    "small": (128, Net(256, 2, 64), Net(64, 1, 64)),
    "medium-small": (128, Net(384, 4, 48, groups=2), Net(96, 1, 48, groups=2)),
    "base": (768, Net(768, 6, 64), Net(256, 2, 64)),
}


def encoder(scope, embedding, net, kernel=9):
    hidden, inner, attention = net.hidden, 4 * net.hidden, net.heads * net.width
    shapes = dense(f"{scope}/embeddings_project", embedding, hidden) if embedding != hidden else {}
    for layer in (f"{scope}/encoder/layer_{number}" for number in range(net.layers)):
        own = f"{layer}/attention/self"
        for part in ("query", "key", "value", "conv_attn_point"):
            shapes |= dense(f"{own}/{part}", hidden, attention)
        shapes |= dense(f"{own}/conv_attn_kernel", attention, net.heads * kernel)
        shapes[f"{own}/conv_attn_key/depthwise_kernel"] = (kernel, hidden, 1)
        shapes[f"{own}/conv_attn_key/pointwise_kernel"] = (1, hidden, attention)
        shapes[f"{own}/conv_attn_key/bias"] = (attention,)
        shapes |= dense(f"{layer}/attention/output/dense", 2 * attention, hidden)
        shapes |= norm(f"{layer}/attention/output/LayerNorm", hidden) | norm(f"{layer}/output/LayerNorm", hidden)
        shapes |= feed_forward(f"{layer}/intermediate", hidden, inner, net.groups)
        shapes |= feed_forward(f"{layer}/output", inner, hidden, net.groups)
    return shapes


def feed_forward(scope, inputs, outputs, groups):
    if groups == 1:
        return dense(f"{scope}/dense", inputs, outputs)
    grouped = (groups, inputs // groups, outputs // groups)
    return {f"{scope}/g_dense/kernel": grouped, f"{scope}/g_dense/bias": (outputs,)}


def convbert(embedding, discriminator, generator, words=30522, positions=512):
    """Name → shape of both models of one checkpoint, without what training leaves there."""
    tables = {"word": words, "position": positions, "token_type": 2}
    return {
        **{f"electra/embeddings/{kind}_embeddings": (count, embedding) for kind, count in tables.items()},
        **norm("electra/embeddings/LayerNorm", embedding),
        **encoder("electra", embedding, discriminator),
        **encoder("generator", embedding, generator),
        **dense("discriminator_predictions/dense", discriminator.hidden, discriminator.hidden),
        **dense("discriminator_predictions/dense_1", discriminator.hidden, 1),
        **dense("generator_predictions/dense", generator.hidden, embedding),
        **norm("generator_predictions/LayerNorm", embedding),
        "generator_predictions/output_bias": (words,),
    }
