"""BERT. PaddleNLP renames every encoder module, calls the span head `classifier`, and has a pooler under every head.

The published checkpoints hold the whole of pre-training, pooler and both heads, and in most of them config.json names
the masked language model, which has no pooler: what one of our models does not have of these is `SPARE`. Conversions
keep it, since the next model may need it.
"""

from collections.abc import Mapping
from typing import Any

from convert.ops import Alias
from convert.originals import Original, count
from convert.rules import (
    Config,
    Rule,
    Rules,
    drop,
    formerly,
    identity,
    keep,
    linear,
    norm,
    own_names,
    tf_linear,
    tf_norm,
    training_state,
    under,
)

BARE, BOTH, WORDS = "BertModel", "BertForPreTraining", "BertForMaskedLM"
SEQUENCES, SPANS = "BertForSequenceClassification", "BertForQuestionAnswering"
CLASSIFIERS = (SEQUENCES, "BertForTokenClassification", "BertForMultipleChoice")
HEADED = (BOTH, WORDS, "BertForNextSentencePrediction", SPANS, *CLASSIFIERS)

SPARE = ("bert.pooler.", "cls.predictions.", "cls.seq_relationship.")

ENCODER: Rules = (
    *keep("embeddings.word_embeddings.weight"),
    *keep("embeddings.position_embeddings.weight"),
    *keep("embeddings.token_type_embeddings.weight"),
    *norm("embeddings.LayerNorm", "embeddings.layer_norm"),
    *linear("encoder.layer.{}.attention.self.query", "encoder.layers.{}.self_attn.q_proj"),
    *linear("encoder.layer.{}.attention.self.key", "encoder.layers.{}.self_attn.k_proj"),
    *linear("encoder.layer.{}.attention.self.value", "encoder.layers.{}.self_attn.v_proj"),
    *linear("encoder.layer.{}.attention.output.dense", "encoder.layers.{}.self_attn.out_proj"),
    *norm("encoder.layer.{}.attention.output.LayerNorm", "encoder.layers.{}.norm1"),
    *linear("encoder.layer.{}.intermediate.dense", "encoder.layers.{}.linear1"),
    *linear("encoder.layer.{}.output.dense", "encoder.layers.{}.linear2"),
    *norm("encoder.layer.{}.output.LayerNorm", "encoder.layers.{}.norm2"),
    *linear("pooler.dense"),
)

TABLE, BIAS = "bert.embeddings.word_embeddings.weight", "cls.predictions.bias"
DENSE = "cls.predictions.transform.dense"


def decoder(weight: str | None, bias: str | None) -> Rules:
    """The decoder, whose weight is the word embedding and whose bias the head's, by the names that a layout has."""
    return (
        Rule("cls.predictions.decoder.weight", weight, Alias(TABLE, f"{DENSE}.bias", option="tie_word_embeddings")),
        Rule("cls.predictions.decoder.bias", bias, Alias(BIAS, f"{DENSE}.bias")),
    )


HEADS: Rules = (
    *keep(BIAS, "cls.predictions.decoder_bias"),
    *decoder("cls.predictions.decoder.weight", "cls.predictions.decoder.bias"),
    *linear(DENSE, "cls.predictions.transform"),
    *norm("cls.predictions.transform.LayerNorm", "cls.predictions.layer_norm"),
    *linear("cls.seq_relationship"),
    *linear("classifier", only=CLASSIFIERS),
    *linear("qa_outputs", "classifier", only=(SPANS,)),
)

PADDLENLP: Rules = (*ENCODER, *under("bert.", ENCODER), *HEADS)

TRANSFORMERS: Rules = (
    *identity(PADDLENLP),
    *drop("embeddings.position_ids", "a buffer, 0 … L-1"),
    *drop("bert.embeddings.position_ids", "a buffer, 0 … L-1"),
)
BEFORE_2019 = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

TF_ENCODER: Rules = (
    *keep("embeddings.word_embeddings.weight", "embeddings/word_embeddings"),
    *keep("embeddings.position_embeddings.weight", "embeddings/position_embeddings"),
    *keep("embeddings.token_type_embeddings.weight", "embeddings/token_type_embeddings"),
    *tf_norm("embeddings.LayerNorm", "embeddings/LayerNorm"),
    *tf_linear("encoder.layer.{}.attention.self.query", "encoder/layer_{}/attention/self/query"),
    *tf_linear("encoder.layer.{}.attention.self.key", "encoder/layer_{}/attention/self/key"),
    *tf_linear("encoder.layer.{}.attention.self.value", "encoder/layer_{}/attention/self/value"),
    *tf_linear("encoder.layer.{}.attention.output.dense", "encoder/layer_{}/attention/output/dense"),
    *tf_norm("encoder.layer.{}.attention.output.LayerNorm", "encoder/layer_{}/attention/output/LayerNorm"),
    *tf_linear("encoder.layer.{}.intermediate.dense", "encoder/layer_{}/intermediate/dense"),
    *tf_linear("encoder.layer.{}.output.dense", "encoder/layer_{}/output/dense"),
    *tf_norm("encoder.layer.{}.output.LayerNorm", "encoder/layer_{}/output/LayerNorm"),
    *tf_linear("pooler.dense", "pooler/dense"),
)


def tf_output(ours: str, scope: str, only: tuple[str, ...]) -> Rules:
    """An output layer of the authors' code, which stores (classes, hidden) as torch does, and only there."""
    return (*keep(f"{ours}.weight", f"{scope}output_weights", only), *keep(f"{ours}.bias", f"{scope}output_bias", only))


TF: Rules = (
    *under("", TF_ENCODER, "bert/", only=(BARE,)),
    *under("bert.", TF_ENCODER, "bert/", only=HEADED),
    *keep(BIAS, "cls/predictions/output_bias"),
    *under("", decoder(None, None), only=HEADED),
    *tf_linear(DENSE, "cls/predictions/transform/dense"),
    *tf_norm("cls.predictions.transform.LayerNorm", "cls/predictions/transform/LayerNorm"),
    *tf_output("cls.seq_relationship", "cls/seq_relationship/", HEADED),
    *tf_output("classifier", "", (SEQUENCES,)),  # of run_classifier.py
    *tf_output("qa_outputs", "cls/squad/", (SPANS,)),  # of run_squad.py
    *training_state(),
)

CLASSES = {"paddlenlp": {BOTH: "BertForPretraining"}}
DEFAULTS = {"paddlenlp": {"type_vocab_size": (2, 16)}}

LAYOUTS: dict[str, Rules] = {
    "paddle": own_names(PADDLENLP),
    "paddlenlp": PADDLENLP,
    "transformers": (*TRANSFORMERS, *formerly(TRANSFORMERS, BEFORE_2019)),
    "tf": TF,
}


def derive(shapes: Mapping[str, tuple[int, ...]], original: Config, part: str | None) -> dict[str, Any]:
    """config.json of one of the authors' checkpoints, from its bert_config.json and the shapes of its tensors.

    Without that file, what the shapes do not tell is as published (google-research/bert): heads of 64, GELU, dropout
    0.1. The model is the one whose head is there.
    """
    words, hidden = shapes["bert/embeddings/word_embeddings"]
    sizes = {
        "vocab_size": words,
        "hidden_size": hidden,
        "num_hidden_layers": count(shapes, "bert/encoder/layer_{}/intermediate/dense/kernel"),
        "num_attention_heads": max(1, hidden // 64),
        "intermediate_size": shapes["bert/encoder/layer_0/intermediate/dense/kernel"][1],
        "max_position_embeddings": shapes["bert/embeddings/position_embeddings"][0],
        "type_vocab_size": shapes["bert/embeddings/token_type_embeddings"][0],
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
    }
    labels = {"num_labels": shapes["output_weights"][0]} if "output_weights" in shapes else {}
    config = {"model_type": "bert", "architectures": [_held(shapes)], **sizes, **original, **labels}
    return {**config, "layer_norm_eps": 1e-12, "pad_token_id": 0}


def _held(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The class whose head a checkpoint of the authors' holds."""
    heads = {"output_weights": SEQUENCES, "cls/squad/output_weights": SPANS}
    heads |= {"cls/seq_relationship/output_weights": BOTH, "cls/predictions/output_bias": WORDS}
    return next((name for head, name in heads.items() if head in shapes), BARE)


ORIGINAL = Original("bert/embeddings/position_embeddings", derive, config="bert_config.json", needs_config=False)
