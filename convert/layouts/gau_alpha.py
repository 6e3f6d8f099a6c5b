"""GAU-α. The names are those of the public PyTorch port in all layouts but bert4keras's; PaddleNLP renames two heads.

The head of masked language modelling has no tensor but the word embeddings, under a second name; so only config.json
tells it from the others.
"""

from collections.abc import Mapping
from typing import Any

from convert.ops import Alias
from convert.originals import Original, count
from convert.rules import (
    Config,
    Pairs,
    Rule,
    Rules,
    identity,
    keep,
    linear,
    own_names,
    tf_linear,
    tf_norm,
    training_state,
    under,
)

BARE, MASKED_LM, ANSWERS = "GAUAlphaModel", "GAUAlphaForMaskedLM", "GAUAlphaForQuestionAnswering"
CLASSIFIERS = ("GAUAlphaForSequenceClassification", "GAUAlphaForTokenClassification", "GAUAlphaForMultipleChoice")

MODEL: Rules = (
    *keep("embeddings.word_embeddings.weight"),
    *keep("embeddings.token_type_embeddings.weight"),
    *linear("encoder.layer.{}.gau.i_dense"),
    *keep("encoder.layer.{}.gau.q_scaleoffset.weight"),
    *keep("encoder.layer.{}.gau.q_scaleoffset.bias"),
    *keep("encoder.layer.{}.gau.k_scaleoffset.weight"),
    *keep("encoder.layer.{}.gau.k_scaleoffset.bias"),
    *linear("encoder.layer.{}.gau.o_dense"),
)


def decoder(target: str | None) -> Rules:
    """The word embeddings' second name, which is not transposed anywhere."""
    tied = Alias(of="gau_alpha.embeddings.word_embeddings.weight", beside=None)
    return (Rule("cls.predictions.decoder.weight", target, tied, only=(MASKED_LM,)),)


def biased(config: Config) -> Pairs:
    """The one pair of no numbers where PaddleNLP's heads have a bias, which is where all its layers have."""
    return (((), ()),) if config.get("use_bias") else ()


def paddlenlp_head(name: str, only: tuple[str, ...]) -> Rules:
    """The last Linear of a head. A bias that PaddleNLP would not read is refused rather than written."""
    weight = linear(name, "classifier", bias=False, only=only)
    return (*weight, Rule(f"{name}.bias", "classifier.bias", only=only, numbers=biased))


BODY: Rules = (*MODEL, *under("gau_alpha.", MODEL), *decoder("cls.decoder_weight"))
OURS: Rules = own_names((*BODY, *linear("classifier"), *linear("qa_outputs")))
PADDLENLP: Rules = (
    *BODY,
    *paddlenlp_head("classifier", only=CLASSIFIERS),
    *paddlenlp_head("qa_outputs", only=(ANSWERS,)),
)

TF_MODEL: Rules = (
    *keep("embeddings.word_embeddings.weight", "bert/embeddings/word_embeddings"),
    *keep("embeddings.token_type_embeddings.weight", "bert/embeddings/token_type_embeddings"),
    *tf_linear("encoder.layer.{}.gau.i_dense", "GAU_alpha/encoder/layer_{}/gau/i_dense"),
    *tf_norm("encoder.layer.{}.gau.q_scaleoffset", "GAU_alpha/encoder/layer_{}/gau/q_scaleoffset"),
    *tf_norm("encoder.layer.{}.gau.k_scaleoffset", "GAU_alpha/encoder/layer_{}/gau/k_scaleoffset"),
    *tf_linear("encoder.layer.{}.gau.o_dense", "GAU_alpha/encoder/layer_{}/gau/o_dense"),
)

BERT4KERAS: Rules = (
    *under("", TF_MODEL, only=(BARE,)),
    *under("gau_alpha.", TF_MODEL, "", only=(MASKED_LM,)),
    *decoder(None),
    *training_state(),
)

LAYOUTS: dict[str, Rules] = {
    "paddle": OURS,
    "paddlenlp": PADDLENLP,
    "transformers": identity(OURS),
    "bert4keras": BERT4KERAS,
}
OPTIONS = {"paddlenlp": {"hidden_act": "activation", "layer_norm_eps": "norm_eps"}}
IGNORED = {"paddlenlp": ("hidden_act", "layer_norm_eps")}
DEFAULTS = {  # ours, PaddleNLP's
    "paddlenlp": {
        "vocab_size": (12000, 30522),
        "intermediate_size": (1536, 3072),
        "num_hidden_layers": (24, 12),
        "type_vocab_size": (2, 16),
        "classifier_dropout": (0.1, None),
        "classifier_bias": (True, False),
    }
}

PARTS = {"masked_lm": MASKED_LM, "backbone": BARE}
FIRST = "GAU_alpha/encoder/layer_0/gau"


def derive(shapes: Mapping[str, tuple[int, ...]], original: Config, part: str | None) -> dict[str, Any]:
    """config.json of the authors' checkpoint, from the shapes of its tensors.

    What these do not tell is as published (ZhuiyiTechnology/GAU-alpha): swish, softmax_plus, dropout 0.1.
    """
    words, hidden = shapes["bert/embeddings/word_embeddings"]
    return {
        "model_type": "gau_alpha",
        "architectures": [PARTS[part or "masked_lm"]],
        "vocab_size": words,
        "hidden_size": hidden,
        "intermediate_size": shapes[f"{FIRST}/o_dense/kernel"][0],
        "attention_key_size": shapes[f"{FIRST}/q_scaleoffset/gamma"][0],
        "num_hidden_layers": count(shapes, "GAU_alpha/encoder/layer_{}/gau/i_dense/kernel"),
        "type_vocab_size": shapes["bert/embeddings/token_type_embeddings"][0],
        "max_position_embeddings": 512,
        "hidden_act": "swish",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "normalization": "softmax_plus",
        "attention_scale": True,
        "use_bias": f"{FIRST}/i_dense/bias" in shapes,
        "pad_token_id": 0,
    }


ORIGINAL = Original(f"{FIRST}/i_dense/kernel", derive, parts=PARTS, layout="bert4keras")
