"""ELECTRA batches for tests, and where PaddleNLP keeps what transformers' names say: an oracle apart from `convert`."""

from contextlib import contextmanager

import numpy as np

PADDLENLP_CLASSES = {
    "replaced_token": "ElectraDiscriminator",
    "masked_lm": "ElectraGenerator",
    "sequence_classification": "ElectraForSequenceClassification",
    "token_classification": "ElectraForTokenClassification",
    "question_answering": "ElectraForQuestionAnswering",
    "multiple_choice": "ElectraForMultipleChoice",
    "backbone": "ElectraModel",
}

# (transformers' piece of a name, PaddleNLP's), replaced in this order
_PIECES = [
    ("encoder.layer.", "encoder.layers."),
    ("attention.self.query", "self_attn.q_proj"),
    ("attention.self.key", "self_attn.k_proj"),
    ("attention.self.value", "self_attn.v_proj"),
    ("attention.output.dense", "self_attn.out_proj"),
    ("attention.output.LayerNorm", "norm1"),
    ("intermediate.dense", "linear1"),
    ("embeddings.LayerNorm", "embeddings.layer_norm"),
    ("generator_predictions.LayerNorm", "generator_predictions.layer_norm"),
    ("output.dense", "linear2"),
    ("output.LayerNorm", "norm2"),
    ("generator_lm_head.bias", "generator_lm_head_bias"),
    ("qa_outputs", "classifier"),
    ("sequence_summary.summary", "sequence_summary.dense"),
]


def paddlenlp_name(name):
    """PaddleNLP's name of a parameter, or None for the decoder, which it multiplies with the word embeddings."""
    if name.endswith("generator_lm_head.weight"):
        return None
    for piece, theirs in _PIECES:
        name = name.replace(piece, theirs)
    return name


def fill_paddlenlp(torch_module, paddlenlp_model, rename=paddlenlp_name):
    """Set every parameter of the PaddleNLP model from `torch_module`; weights of Linear layers are transposed."""
    import paddle

    layers = dict(paddlenlp_model.named_sublayers(include_self=True))
    target = paddlenlp_model.state_dict()
    source = {rename(name): value.detach().numpy() for name, value in torch_module.state_dict().items()}
    source.pop(None, None)
    assert set(source) == set(target), f"names differ: {sorted(set(source) ^ set(target))}"
    for name, parameter in target.items():
        owner, _, leaf = name.rpartition(".")
        transposed = isinstance(layers[owner], paddle.nn.Linear) and leaf == "weight"
        value = np.ascontiguousarray(source[name].T if transposed else source[name])
        assert list(value.shape) == list(parameter.shape), f"{name}: {value.shape} into {parameter.shape}"
        parameter.set_value(value)
    return paddlenlp_model


def batch(task, B=3, L=17, C=4, seed=0, vocabulary=211, classes=5):
    """Ids, a mask with padding at the right of all rows but the first, token types, and labels, some of them −100."""
    rng = np.random.default_rng([seed, B, L])
    shape = (B, C, L) if task == "multiple_choice" else (B, L)
    lengths = rng.integers(max(1, L // 2), L, shape[:-1], endpoint=True)
    lengths.flat[0] = L
    mask = (np.arange(L) < lengths[..., None]).astype(np.int64)
    fields = {
        "input_ids": rng.integers(1, vocabulary, shape) * mask,
        "attention_mask": mask,
        "token_type_ids": rng.integers(0, 2, shape) * mask,
    }
    return fields | _labels(task, rng, mask, B, L, C, vocabulary, classes)


def _labels(task, rng, mask, B, L, C, vocabulary, classes):
    chosen = (rng.random(mask.shape) < 0.4) & (mask == 1)
    chosen.flat[0] = True
    per_token = {"masked_lm": vocabulary, "pretraining": vocabulary, "token_classification": classes}
    if task in per_token:
        labels = {"labels": np.where(chosen, rng.integers(0, per_token[task], mask.shape), -100)}
        return labels | ({"sampling_noise": rng.random((B, L, vocabulary))} if task == "pretraining" else {})
    if task == "question_answering":
        return {"start_positions": rng.integers(0, L, B), "end_positions": rng.integers(0, L, B)}
    counts = {"replaced_token": (2, (B, L)), "sequence_classification": (classes, B), "multiple_choice": (C, B)}
    return {"labels": rng.integers(0, *counts[task])} if task in counts else {}


def run(model, fields):
    """The outputs of a torch or a Paddle model as arrays."""
    if type(model).__module__.split(".")[0] in ("models_torch", "transformers"):
        import torch

        outputs = model(**{name: torch.tensor(value) for name, value in fields.items()})
    else:
        import paddle

        outputs = model(**{name: paddle.to_tensor(value) for name, value in fields.items()})
    return {name: value.detach().numpy() for name, value in outputs.items()}


@contextmanager
def default_dtype(name):
    """Both frameworks build in the dtype of that name."""
    import paddle
    import torch

    before = torch.get_default_dtype(), paddle.get_default_dtype()
    torch.set_default_dtype(getattr(torch, name))
    paddle.set_default_dtype(name)
    try:
        yield
    finally:
        torch.set_default_dtype(before[0])
        paddle.set_default_dtype(before[1])


def gap(actual, expected):
    """The largest difference, relative to the largest expected value; shapes and dtypes have to be equal."""
    assert actual.shape == expected.shape, f"{actual.shape} against {expected.shape}"
    assert actual.dtype == expected.dtype, f"{actual.dtype} against {expected.dtype}"
    difference = np.abs(actual - expected).max()
    return float(difference / np.abs(expected).max()) if difference != 0 else 0.0
