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
