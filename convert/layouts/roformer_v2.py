"""RoFormerV2. The names are the public PyTorch port's, which calls the classes RoFormer's; PaddleNLP renames all.

bert4keras has BERT's names in a TensorFlow bundle, without biases and norms. The head of masked language modelling has
no tensor but the word embeddings, under a second name; so only config.json tells it from the others.
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
    identity,
    keep,
    linear,
    own_names,
    tf_linear,
    training_state,
    under,
)

HEADS = ("MaskedLM", "SequenceClassification", "TokenClassification", "QuestionAnswering", "MultipleChoice")
BARE, MLM, CLASSES_OF_TOKENS = "RoFormerV2Model", "RoFormerV2ForMaskedLM", "RoFormerV2ForTokenClassification"
SEQUENCE, CHOICE = "RoFormerV2ForSequenceClassification", "RoFormerV2ForMultipleChoice"
SPAN = "RoFormerV2ForQuestionAnswering"

MODEL: Rules = (
    *keep("embeddings.word_embeddings.weight"),
    *keep("embeddings.token_type_embeddings.weight"),
    *linear("encoder.layer.{}.attention.self.query", "encoder.layers.{}.self_attn.q_proj"),
    *linear("encoder.layer.{}.attention.self.key", "encoder.layers.{}.self_attn.k_proj"),
    *linear("encoder.layer.{}.attention.self.value", "encoder.layers.{}.self_attn.v_proj"),
    *linear("encoder.layer.{}.attention.output.dense", "encoder.layers.{}.self_attn.out_proj"),
    *linear("encoder.layer.{}.intermediate.dense", "encoder.layers.{}.linear1"),
    *linear("encoder.layer.{}.output.dense", "encoder.layers.{}.linear2"),
)


def decoder(target: str | None) -> Rules:
    """The word embeddings' second name, which is not transposed anywhere."""
    tied = Alias(of="roformer.embeddings.word_embeddings.weight", beside=None)
    return (Rule("cls.predictions.decoder.weight", target, tied, only=(MLM,)),)


PADDLENLP: Rules = (
    *MODEL,
    *under("roformer.", MODEL, "roformerv2."),
    *decoder("cls.decoder_weight"),
    *keep("cls.predictions.decoder.bias", "cls.decoder_bias"),
    *linear("classifier", only=(SEQUENCE, CLASSES_OF_TOKENS, CHOICE)),
    *linear("qa_outputs", "classifier", only=(SPAN,)),
)

OURS: Rules = (
    *PADDLENLP,
    *linear("classifier.dense"),
    *linear("classifier.out_proj"),
)  # the port's classifier, and ours

TF_MODEL: Rules = (
    *keep("embeddings.word_embeddings.weight", "bert/embeddings/word_embeddings"),
    *keep("embeddings.token_type_embeddings.weight", "bert/embeddings/token_type_embeddings"),
    *tf_linear("encoder.layer.{}.attention.self.query", "bert/encoder/layer_{}/attention/self/query"),
    *tf_linear("encoder.layer.{}.attention.self.key", "bert/encoder/layer_{}/attention/self/key"),
    *tf_linear("encoder.layer.{}.attention.self.value", "bert/encoder/layer_{}/attention/self/value"),
    *tf_linear("encoder.layer.{}.attention.output.dense", "bert/encoder/layer_{}/attention/output/dense"),
    *tf_linear("encoder.layer.{}.intermediate.dense", "bert/encoder/layer_{}/intermediate/dense"),
    *tf_linear("encoder.layer.{}.output.dense", "bert/encoder/layer_{}/output/dense"),
)

BERT4KERAS: Rules = (
    *under("", TF_MODEL, only=(BARE,)),
    *under("roformer.", TF_MODEL, "", only=(MLM,)),
    *decoder(None),
    *training_state(),
)

TABLE = "sines and cosines of the positions, which are computed"

LAYOUTS: dict[str, Rules] = {
    "paddle": own_names(OURS),
    "paddlenlp": PADDLENLP,
    "transformers": (
        *identity(OURS),
        *drop("encoder.embed_positions.weight", TABLE),
        *drop("roformer.encoder.embed_positions.weight", TABLE),
    ),
    "bert4keras": BERT4KERAS,
}


def for_the_port(config: Config) -> dict[str, Any]:
    """The port takes RoFormerV2 for a RoFormer with another norm."""
    return {**config, "model_type": "roformer", "norm_type": "rms_norm"} if "model_type" in config else dict(config)


def for_paddlenlp(config: Config) -> dict[str, Any]:
    return {**config, "model_type": "roformerv2"} if "model_type" in config else dict(config)


SPELLING = {"transformers": for_the_port, "paddlenlp": for_paddlenlp}
CLASSES = {
    "paddlenlp": {BARE: "RoFormerv2Model"} | {f"RoFormerV2For{head}": f"RoFormerv2For{head}" for head in HEADS},
    "transformers": {BARE: "RoFormerModel"} | {f"RoFormerV2For{head}": f"RoFormerFor{head}" for head in HEADS},
}
OPTIONS = {"paddlenlp": {"layer_norm_eps": "epsilon"}}

PARTS = {"masked_lm": MLM, "backbone": BARE}
FIRST = "bert/encoder/layer_0/attention/self/query"


def derive(shapes: Mapping[str, tuple[int, ...]], original: Config, part: str | None) -> dict[str, Any]:
    """config.json of one of the authors' checkpoints, from the shapes of its tensors.

    What these do not tell is as published (ZhuiyiTechnology/roformer-v2): heads of 64, ReLU, dropout 0.1.
    """
    words, hidden = shapes["bert/embeddings/word_embeddings"]
    return {
        "model_type": "roformer_v2",
        "architectures": [PARTS[part or "masked_lm"]],
        "vocab_size": words,
        "hidden_size": hidden,
        "num_hidden_layers": count(shapes, "bert/encoder/layer_{}/intermediate/dense/kernel"),
        "num_attention_heads": max(1, hidden // 64),
        "intermediate_size": shapes["bert/encoder/layer_0/intermediate/dense/kernel"][1],
        "hidden_act": "relu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 512,
        "type_vocab_size": shapes["bert/embeddings/token_type_embeddings"][0],
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "rotary_value": False,
        "use_bias": f"{FIRST}/bias" in shapes,
    }


ORIGINAL = Original(f"{FIRST}/kernel", derive, parts=PARTS, layout="bert4keras")
