"""What the tests share: small configurations, the names of a model's tensors, digests."""

import hashlib

import numpy as np

import fake_data

CONFIGS = {
    "electra": {"vocab_size": 211, "type_vocab_size": 2, "max_position_embeddings": 48, "num_labels": 5},
    "funnel": {"vocab_size": 199, "num_labels": 5},
}
COMMON = (
    "backbone",
    "masked_lm",
    "replaced_token",
    "sequence_classification",
    "token_classification",
    "question_answering",
    "multiple_choice",
)
TASKS = {"electra": (*COMMON, "pretraining"), "funnel": (*COMMON, "encoder")}
CASES = [(model, task) for model, tasks in TASKS.items() for task in tasks]


def probe(model, task, **options):
    """The batch of a case, under the small configuration of its model."""
    return fake_data.make_batch(model, task, CONFIGS[model], **options)


def digest(arrays):
    """sha256 over names, dtypes, shapes and little-endian bytes."""
    state = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        state.update(f"{name} {array.dtype.name} {array.shape}".encode())
        state.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return state.hexdigest()


def _linear(name, outputs, inputs):
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name, width):
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _electra_shapes(V=211, E=24, D=40, inner=56, positions=48, labels=5):
    layer = "electra.encoder.layer.0"
    return {
        "electra.embeddings.word_embeddings.weight": (V, E),
        "electra.embeddings.position_embeddings.weight": (positions, E),
        "electra.embeddings.token_type_embeddings.weight": (2, E),
        **_norm("electra.embeddings.LayerNorm", E),
        **_linear("electra.embeddings_project", D, E),
        **_linear(f"{layer}.attention.self.query", D, D),
        **_linear(f"{layer}.attention.self.key", D, D),
        **_linear(f"{layer}.attention.self.value", D, D),
        **_linear(f"{layer}.attention.output.dense", D, D),
        **_norm(f"{layer}.attention.output.LayerNorm", D),
        **_linear(f"{layer}.intermediate.dense", inner, D),
        **_linear(f"{layer}.output.dense", D, inner),
        **_norm(f"{layer}.output.LayerNorm", D),
        **_linear("generator_predictions.dense", E, D),
        **_norm("generator_predictions.LayerNorm", E),
        **_linear("generator_lm_head", V, E),
        **_linear("discriminator_predictions.dense", D, D),
        **_linear("discriminator_predictions.dense_prediction", 1, D),
        **_linear("classifier.dense", D, D),
        **_linear("classifier.out_proj", labels, D),
        **_linear("classifier", labels, D),
        **_linear("sequence_summary.summary", D, D),
        **_linear("qa_outputs", 2, D),
        "generator.electra.encoder.layer.1.attention.self.query.weight": (28, 28),
    }


def _funnel_shapes(V=199, D=28, heads=4, head=6, inner=44, labels=5):
    layer = "funnel.encoder.blocks.0.1"
    return {
        "funnel.embeddings.word_embeddings.weight": (V, D),
        **_norm("funnel.embeddings.layer_norm", D),
        **{f"{layer}.attention.r_{which}_bias": (heads, head) for which in "wrs"},
        f"{layer}.attention.r_kernel": (D, heads, head),
        f"{layer}.attention.seg_embed": (2, heads, head),
        f"{layer}.attention.q_head.weight": (heads * head, D),
        **_linear(f"{layer}.attention.k_head", heads * head, D),
        **_linear(f"{layer}.attention.v_head", heads * head, D),
        **_linear(f"{layer}.attention.post_proj", D, heads * head),
        **_norm(f"{layer}.attention.layer_norm", D),
        **_linear(f"{layer}.ffn.linear_1", inner, D),
        **_linear(f"{layer}.ffn.linear_2", D, inner),
        **_norm(f"{layer}.ffn.layer_norm", D),
        "funnel.decoder.layers.0.attention.q_head.weight": (heads * head, D),
        **_linear("lm_head", V, D),
        **_linear("discriminator_predictions.dense", D, D),
        **_linear("discriminator_predictions.dense_prediction", 1, D),
        **_linear("classifier.linear_hidden", D, D),
        **_linear("classifier.linear_out", labels, D),
        **_linear("classifier", labels, D),
        **_linear("qa_outputs", 2, D),
    }


SHAPES = {"electra": _electra_shapes(), "funnel": _funnel_shapes()}


def weights(model, **options):
    """The fake weights of a model's tensors by name."""
    return {name: np.asarray(array) for name, array in fake_data.make_weights(model, SHAPES[model], **options)}
