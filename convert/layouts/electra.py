"""ELECTRA. PaddleNLP renames every encoder module, calls the span head `classifier`, and stores no decoder weight.

The authors' TensorFlow checkpoints hold generator and discriminator, which share their embeddings; which of them is
meant, the architecture says.
"""

from collections.abc import Mapping
from dataclasses import replace
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

EMBEDDINGS: Rules = (
    *keep("embeddings.word_embeddings.weight"),
    *keep("embeddings.position_embeddings.weight"),
    *keep("embeddings.token_type_embeddings.weight"),
    *norm("embeddings.LayerNorm", "embeddings.layer_norm"),
)

ENCODER: Rules = (
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

DISCRIMINATOR: Rules = (
    *linear("discriminator_predictions.dense"),
    *linear("discriminator_predictions.dense_prediction"),
)

GENERATOR: Rules = (
    *linear("generator_predictions.dense"),
    *norm("generator_predictions.LayerNorm", "generator_predictions.layer_norm"),
    *keep("generator_lm_head.bias", "generator_lm_head_bias"),
)

HEADS: Rules = (
    *linear("classifier.dense"),  # sequence classification
    *linear("classifier.out_proj"),
    *linear("classifier", only=("ElectraForTokenClassification", "ElectraForMultipleChoice")),
    *linear("qa_outputs", "classifier", only=("ElectraForQuestionAnswering",)),
    *linear("sequence_summary.summary", "sequence_summary.dense"),  # multiple choice
)


def decoder(prefix: str, table: str) -> Rules:
    """The generator's decoder: the word embedding `table` by another name."""
    tied = Alias(of=table, beside=f"{prefix}generator_lm_head.bias", option="tie_word_embeddings")
    return (Rule(f"{prefix}generator_lm_head.weight", None, tied),)


def shared_embeddings() -> Rules:
    """In joint pre-training the generator's embeddings are the discriminator's (ELECTRA paper, section 3.2)."""
    theirs = under("discriminator.electra.", EMBEDDINGS)
    beside = "generator.generator_predictions.dense.weight"
    pairs = zip(under("generator.electra.", EMBEDDINGS), theirs, strict=True)
    return tuple(replace(rule, op=Alias(str(of.source), beside)) for rule, of in pairs)


SINGLE: Rules = (
    *EMBEDDINGS,  # the bare encoder
    *ENCODER,
    *under("electra.", (*EMBEDDINGS, *ENCODER)),
    *DISCRIMINATOR,
    *GENERATOR,
    *decoder("", "electra.embeddings.word_embeddings.weight"),
    *HEADS,
)

JOINT: Rules = (
    *under("discriminator.", (*under("electra.", (*EMBEDDINGS, *ENCODER)), *DISCRIMINATOR)),
    *shared_embeddings(),
    *under("generator.", (*under("electra.", ENCODER), *GENERATOR)),
    *decoder("generator.", "discriminator.electra.embeddings.word_embeddings.weight"),
)

TF_EMBEDDINGS: Rules = (
    *keep("embeddings.word_embeddings.weight", "embeddings/word_embeddings"),
    *keep("embeddings.position_embeddings.weight", "embeddings/position_embeddings"),
    *keep("embeddings.token_type_embeddings.weight", "embeddings/token_type_embeddings"),
    *tf_norm("embeddings.LayerNorm", "embeddings/LayerNorm"),
)

TF_ENCODER: Rules = (
    *tf_linear("embeddings_project", "embeddings_project"),
    *tf_linear("encoder.layer.{}.attention.self.query", "encoder/layer_{}/attention/self/query"),
    *tf_linear("encoder.layer.{}.attention.self.key", "encoder/layer_{}/attention/self/key"),
    *tf_linear("encoder.layer.{}.attention.self.value", "encoder/layer_{}/attention/self/value"),
    *tf_linear("encoder.layer.{}.attention.output.dense", "encoder/layer_{}/attention/output/dense"),
    *tf_norm("encoder.layer.{}.attention.output.LayerNorm", "encoder/layer_{}/attention/output/LayerNorm"),
    *tf_linear("encoder.layer.{}.intermediate.dense", "encoder/layer_{}/intermediate/dense"),
    *tf_linear("encoder.layer.{}.output.dense", "encoder/layer_{}/output/dense"),
    *tf_norm("encoder.layer.{}.output.LayerNorm", "encoder/layer_{}/output/LayerNorm"),
)

TF_DISCRIMINATOR: Rules = (
    *tf_linear("discriminator_predictions.dense", "discriminator_predictions/dense"),
    *tf_linear("discriminator_predictions.dense_prediction", "discriminator_predictions/dense_1"),
)

TF_GENERATOR: Rules = (
    *tf_linear("generator_predictions.dense", "generator_predictions/dense"),
    *tf_norm("generator_predictions.LayerNorm", "generator_predictions/LayerNorm"),
    *keep("generator_lm_head.bias", "generator_predictions/output_bias"),
)

BARE, D, G, BOTH = "ElectraModel", "ElectraForPreTraining", "ElectraForMaskedLM", "ElectraForJointPreTraining"


def tf_encoder(ours: str, scope: str, only: tuple[str, ...]) -> Rules:
    """Our encoder under the prefix `ours`, whose layers TensorFlow has in `scope`, its embeddings with the rest."""
    return (*under(ours, TF_EMBEDDINGS, "electra/", only=only), *under(ours, TF_ENCODER, f"{scope}/", only=only))


TF: Rules = (
    *tf_encoder("", "electra", only=(BARE,)),
    *tf_encoder("electra.", "electra", only=(D,)),
    *under("", TF_DISCRIMINATOR, only=(D,)),
    *tf_encoder("electra.", "generator", only=(G,)),
    *under("", TF_GENERATOR, only=(G,)),
    *under("", decoder("", "electra.embeddings.word_embeddings.weight"), only=(G,)),
    *tf_encoder("discriminator.electra.", "electra", only=(BOTH,)),
    *under("discriminator.", TF_DISCRIMINATOR, "", only=(BOTH,)),
    *(replace(rule, target=None, only=(BOTH,)) for rule in shared_embeddings()),
    *under("generator.electra.", TF_ENCODER, "generator/", only=(BOTH,)),
    *under("generator.", TF_GENERATOR, "", only=(BOTH,)),
    *under("", decoder("generator.", "discriminator.electra.embeddings.word_embeddings.weight"), only=(BOTH,)),
    *drop("generator/*", "the generator, which --part generator takes", only=(D,)),
    *drop("generator_predictions/*", "the generator's head, which --part generator takes", only=(D,)),
    *drop("electra/encoder/*", "the discriminator, which --part discriminator takes", only=(G,)),
    *drop("electra/embeddings_project/*", "the discriminator, which --part discriminator takes", only=(G,)),
    *drop("discriminator_predictions/*", "the discriminator's head, which --part discriminator takes", only=(G,)),
    *drop("generator_predictions/temperature", "the temperature of the generator's samples, no weight"),
    *training_state(),
)

CLASSES = {
    "paddlenlp": {
        "ElectraForPreTraining": "ElectraDiscriminator",
        "ElectraForMaskedLM": "ElectraGenerator",
        "ElectraForJointPreTraining": "ElectraForTotalPretraining",
    }
}
OPTIONS = {"paddlenlp": {"discriminator_weight": "disc_weight", "generator_weight": "gen_weight"}}

LAYOUTS: dict[str, Rules] = {
    "paddle": own_names((*SINGLE, *JOINT)),
    "paddlenlp": (*SINGLE, *JOINT),
    "transformers": (
        *identity(SINGLE),  # transformers has no joint model
        *drop("embeddings.position_ids", "a buffer, 0 … L-1"),
        *drop("electra.embeddings.position_ids", "a buffer, 0 … L-1"),
    ),
    "tf": TF,
}


PARTS = {"discriminator": D, "generator": G, "joint": BOTH}


def derive(shapes: Mapping[str, tuple[int, ...]], original: Config, part: str | None) -> dict[str, Any]:
    """config.json of one of the authors' checkpoints, from the shapes of its tensors.

    What these do not tell is as published (google-research/electra): heads of 64, GELU, dropout 0.1.
    """
    heads = {
        "discriminator": "discriminator_predictions/dense/kernel",
        "generator": "generator_predictions/dense/kernel",
    }
    held = [name for name, head in heads.items() if head in shapes]
    if part is None and len(held) > 1:
        raise ConvertError("holds a discriminator and a generator: choose by --part discriminator, generator or joint")
    part = part or next(iter(held), None)
    if missing := [name for name in heads if part in (name, "joint") and name not in held]:
        raise ConvertError(f"holds no {' and no '.join(missing)}")
    words, embedding = shapes["electra/embeddings/word_embeddings"]
    sizes = _sizes(shapes, "generator" if part == "generator" else "electra")
    if part == "joint":
        sizes |= {f"generator_{name}": size for name, size in _sizes(shapes, "generator").items()}
    return {
        "model_type": "electra",
        "architectures": [PARTS[part] if part else BARE],
        "vocab_size": words,
        "embedding_size": embedding,
        **sizes,
        "max_position_embeddings": shapes["electra/embeddings/position_embeddings"][0],
        "type_vocab_size": shapes["electra/embeddings/token_type_embeddings"][0],
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
    }


def _sizes(shapes: Mapping[str, tuple[int, ...]], scope: str) -> dict[str, int]:
    hidden, inner = shapes[f"{scope}/encoder/layer_0/intermediate/dense/kernel"]
    return {
        "hidden_size": hidden,
        "num_hidden_layers": count(shapes, f"{scope}/encoder/layer_{{}}/intermediate/dense/kernel"),
        "num_attention_heads": max(1, hidden // 64),
        "intermediate_size": inner,
    }


ORIGINAL = Original("electra/embeddings/word_embeddings", derive, parts=PARTS)
