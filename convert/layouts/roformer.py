"""RoFormer. PaddleNLP renames every encoder module, and its pooler is the dense layer of transformers' sentence heads.

transformers keeps the sines and cosines of all positions as a tensor, which it makes anew where a file lacks it, as
the published ones do. The authors' TensorFlow checkpoints are BERT's without positions.
"""

from collections.abc import Mapping
from typing import Any

from convert.errors import ConvertError
from convert.ops import Alias
from convert.originals import Original, count
from convert.rules import (
    Config,
    Rule,
    Rules,
    drop,
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

BARE, MLM, CHOICE = "RoFormerModel", "RoFormerForMaskedLM", "RoFormerForMultipleChoice"
SEQUENCE, TOKENS = "RoFormerForSequenceClassification", "RoFormerForTokenClassification"
SPAN = "RoFormerForQuestionAnswering"

MODEL: Rules = (
    *keep("embeddings.word_embeddings.weight"),
    *keep("embeddings.token_type_embeddings.weight"),
    *norm("embeddings.LayerNorm", "embeddings.layer_norm"),
    *linear("embeddings_project"),
    *linear("encoder.layer.{}.attention.self.query", "encoder.layers.{}.self_attn.q_proj"),
    *linear("encoder.layer.{}.attention.self.key", "encoder.layers.{}.self_attn.k_proj"),
    *linear("encoder.layer.{}.attention.self.value", "encoder.layers.{}.self_attn.v_proj"),
    *linear("encoder.layer.{}.attention.output.dense", "encoder.layers.{}.self_attn.out_proj"),
    *norm("encoder.layer.{}.attention.output.LayerNorm", "encoder.layers.{}.norm1"),
    *linear("encoder.layer.{}.intermediate.dense", "encoder.layers.{}.linear1"),
    *linear("encoder.layer.{}.output.dense", "encoder.layers.{}.linear2"),
    *norm("encoder.layer.{}.output.LayerNorm", "encoder.layers.{}.norm2"),
)

HEADS: Rules = (
    *linear("roformer.pooler.dense", only=(MLM, TOKENS, SPAN)),
    *linear("classifier.dense", "roformer.pooler.dense", only=(SEQUENCE,)),
    *linear("classifier.out_proj", "classifier", only=(SEQUENCE,)),
    *linear("sequence_summary.summary", "roformer.pooler.dense", only=(CHOICE,)),
    *linear("classifier", only=(TOKENS, CHOICE)),
    *linear("qa_outputs", "classifier", only=(SPAN,)),
    *linear("cls.predictions.transform.dense", "cls.predictions.transform"),
    *norm("cls.predictions.transform.LayerNorm", "cls.predictions.layer_norm"),
    *keep("cls.predictions.bias", "cls.predictions.decoder_bias"),
)

WORDS, BIAS = "roformer.embeddings.word_embeddings.weight", "cls.predictions.bias"


def decoder(weight: str | None) -> Rules:
    """The decoder: the word embeddings and the bias by other names, of which a layout has at most the weight's."""
    return (
        Rule("cls.predictions.decoder.weight", weight, Alias(WORDS, BIAS, "tie_word_embeddings")),
        Rule("cls.predictions.decoder.bias", None, Alias(BIAS, "cls.predictions.transform.dense.bias")),
    )


PADDLENLP: Rules = (
    *MODEL,
    *linear("pooler.dense"),
    *under("roformer.", MODEL),
    *HEADS,
    *decoder("cls.predictions.decoder_weight"),
)

TF_MODEL: Rules = (
    *keep("embeddings.word_embeddings.weight", "embeddings/word_embeddings"),
    *keep("embeddings.token_type_embeddings.weight", "embeddings/token_type_embeddings"),
    *tf_norm("embeddings.LayerNorm", "embeddings/LayerNorm"),
    *tf_linear("embeddings_project", "encoder/embedding_hidden_mapping_in"),
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

TF: Rules = (
    *under("", TF_MODEL, "bert/", only=(BARE,)),
    *under("roformer.", TF_MODEL, "bert/", only=(MLM,)),
    *tf_linear("cls.predictions.transform.dense", "cls/predictions/transform/dense", only=(MLM,)),
    *tf_norm("cls.predictions.transform.LayerNorm", "cls/predictions/transform/LayerNorm", only=(MLM,)),
    *keep("cls.predictions.bias", "cls/predictions/output_bias", only=(MLM,)),
    *under("", decoder(None), only=(MLM,)),
    *drop("cls/predictions/*", "the head that predicts words, which --part masked_lm takes", only=(BARE,)),
    *drop("cls/seq_relationship/*", "the head that BERT predicts the next sentence with"),
    *training_state(),
)


def for_paddlenlp(config: Config) -> dict[str, Any]:
    """What activation, and dropout behind it, PaddleNLP's pooler has to have to be transformers' dense layer.

    Elsewhere nothing has to be said: a pooler that transformers' models lack is made anew, and is not used.
    """
    plain = {key: value for key, value in config.items() if key != "pool_act"}
    if config.get("pool_act") is not None:
        return dict(config)
    if _is(config, SEQUENCE):
        return plain | {"pool_act": config.get("hidden_act", "gelu")}
    if _is(config, CHOICE):
        read, dense = config.get("summary_type", "last"), config.get("summary_use_proj", False)
        if read != "first" or not dense:
            raise ConvertError(
                f'PaddleNLP\'s {CHOICE} reads the first token through a dense layer, this one has "summary_type": '
                f'"{read}", "summary_use_proj": {dense}; there is no such model in PaddleNLP'
            )
        return plain | {
            "pool_act": config.get("summary_activation") or "linear",
            "classifier_dropout": config.get("summary_last_dropout", 0.0),
        }
    return plain


def for_transformers(config: Config) -> dict[str, Any]:
    """What a head that PaddleNLP's pooler belongs to is called in transformers, where it has one like it."""
    pool_act, act = config.get("pool_act"), config.get("hidden_act", "gelu")
    plain = {key: value for key, value in config.items() if key != "pool_act"}
    if pool_act is None:
        return dict(config)
    if _is(config, SEQUENCE):
        if pool_act != act:
            raise ConvertError(
                f"transformers' {SEQUENCE} has the encoder's activation, {act}, behind its dense layer, "
                f'this one has "pool_act": "{pool_act}"; there is no such model in transformers'
            )
        return plain
    if _is(config, CHOICE):
        dropout = config.get("classifier_dropout")
        return plain | {
            "summary_type": "first",
            "summary_use_proj": True,
            "summary_activation": None if pool_act == "linear" else pool_act,
            "summary_last_dropout": config.get("hidden_dropout_prob", 0.1) if dropout is None else dropout,
        }
    return dict(config)


def _is(config: Config, architecture: str) -> bool:
    return architecture in (config.get("architectures") or ())


SPELLING = {"paddlenlp": for_paddlenlp, "transformers": for_transformers}
DEFAULTS = {"paddlenlp": {"vocab_size": (50000, 30522), "embedding_size": (None, 768), "pool_act": (None, "tanh")}}

TOLD_BY = {"paddlenlp": {"pool_act": "pooler.dense.weight"}}

TABLE = "sines and cosines of the positions, which are computed"

LAYOUTS: dict[str, Rules] = {
    "paddle": own_names(PADDLENLP),
    "paddlenlp": PADDLENLP,
    "transformers": (
        *identity(PADDLENLP),
        *drop("encoder.embed_positions.weight", TABLE),
        *drop("roformer.encoder.embed_positions.weight", TABLE),
    ),
    "tf": TF,
}


PARTS = {"masked_lm": MLM, "backbone": BARE}


def derive(shapes: Mapping[str, tuple[int, ...]], original: Config, part: str | None) -> dict[str, Any]:
    """config.json of one of the authors' checkpoints, from the shapes of its tensors.

    What these do not tell is as published (ZhuiyiTechnology/roformer): heads of 64, GELU, dropout 0.1. Those with a
    pooler are RoFormer-Sim's, whose pooler has no activation.
    """
    words, embedding = shapes["bert/embeddings/word_embeddings"]
    hidden, inner = shapes["bert/encoder/layer_0/intermediate/dense/kernel"]
    held = "cls/predictions/transform/dense/kernel" in shapes
    if part == "masked_lm" and not held:
        raise ConvertError("holds no head that predicts words; --part backbone takes what there is")
    return {
        "model_type": "roformer",
        "architectures": [PARTS[part] if part else MLM if held else BARE],
        "vocab_size": words,
        "embedding_size": embedding,
        "hidden_size": hidden,
        "num_hidden_layers": count(shapes, "bert/encoder/layer_{}/intermediate/dense/kernel"),
        "num_attention_heads": max(1, hidden // 64),
        "intermediate_size": inner,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 1536,
        "type_vocab_size": shapes["bert/embeddings/token_type_embeddings"][0],
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "rotary_value": False,
        **({"pool_act": "linear"} if "bert/pooler/dense/kernel" in shapes else {}),
    }


ORIGINAL = Original("bert/embeddings/LayerNorm/gamma", derive, parts=PARTS)
