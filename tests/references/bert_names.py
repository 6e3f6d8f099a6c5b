"""BERT batches for tests, and where PaddleNLP keeps what transformers' names say: an oracle apart from `convert`."""

import numpy as np

from tests.references import electra_names

PADDLENLP_CLASSES = {
    "masked_lm": "BertForMaskedLM",
    "masked_lm_and_next_sentence": "BertForPretraining",
    "sequence_classification": "BertForSequenceClassification",
    "token_classification": "BertForTokenClassification",
    "question_answering": "BertForQuestionAnswering",
    "multiple_choice": "BertForMultipleChoice",
    "backbone": "BertModel",
}
POOLER = {"bert.pooler.dense.weight", "bert.pooler.dense.bias"}  # PaddleNLP has it under every head

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
    ("transform.LayerNorm", "layer_norm"),
    ("transform.dense", "transform"),
    ("output.dense", "linear2"),
    ("output.LayerNorm", "norm2"),
    ("predictions.bias", "predictions.decoder_bias"),
    ("qa_outputs", "classifier"),
]


def paddlenlp_name(name):
    for piece, theirs in _PIECES:
        name = name.replace(piece, theirs)
    return name


def fill_paddlenlp(torch_module, paddlenlp_model):
    """Set every parameter that ours has; weights of Linear layers are transposed."""
    import paddle

    layers = dict(paddlenlp_model.named_sublayers(include_self=True))
    target = paddlenlp_model.state_dict()
    source = {paddlenlp_name(name): value.detach().numpy() for name, value in torch_module.state_dict().items()}
    assert set(target) - set(source) in (set(), POOLER)
    assert set(source) <= set(target)
    for name, value in source.items():
        owner, _, leaf = name.rpartition(".")
        value = value.T if isinstance(layers[owner], paddle.nn.Linear) and leaf == "weight" else value
        assert list(value.shape) == list(target[name].shape), f"{name}: {value.shape} into {target[name].shape}"
        target[name].set_value(np.ascontiguousarray(value))
    return paddlenlp_model


def batch(task, B=3, L=17, seed=0):
    """As ELECTRA's, with labels for BERT's own tasks, none of them ignored where they are one for each example."""
    if task == "next_sentence":
        return electra_names.batch("sequence_classification", B, L, seed=seed, classes=2)
    if task == "masked_lm_and_next_sentence":
        order = electra_names.batch("sequence_classification", B, L, seed=seed, classes=2)["labels"]
        return electra_names.batch("masked_lm", B, L, seed=seed) | {"next_sentence_label": order}
    return electra_names.batch(task, B, L, seed=seed)
