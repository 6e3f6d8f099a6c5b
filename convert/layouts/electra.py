"""ELECTRA. PaddleNLP renames every encoder module, calls the span head `classifier`, and stores no decoder weight."""

from dataclasses import replace

from convert.rules import Alias, Rule, Rules, drop, identity, keep, linear, norm, own_names, under

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

LAYOUTS: dict[str, Rules] = {
    "paddle": own_names((*SINGLE, *JOINT)),
    "paddlenlp": (*SINGLE, *JOINT),
    "transformers": (
        *identity(SINGLE),  # transformers has no joint model
        *drop("embeddings.position_ids", "a buffer, 0 … L-1"),
        *drop("electra.embeddings.position_ids", "a buffer, 0 … L-1"),
    ),
}
