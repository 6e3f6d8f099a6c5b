"""Fastformer. The authors' code, in PyTorch, has our names."""

from convert.rules import Rules, identity, keep, linear, norm, under

LAYER: Rules = (
    *linear("attention.self.query"),
    *linear("attention.self.query_att"),
    *linear("attention.self.key"),
    *linear("attention.self.key_att"),
    *linear("attention.self.transform"),
    *linear("attention.output.dense"),
    *norm("attention.output.LayerNorm"),
    *linear("intermediate.dense"),
    *linear("output.dense"),
    *norm("output.LayerNorm"),
)

RULES: Rules = (
    *keep("word_embedding.weight"),
    *keep("fastformer_model.position_embeddings.weight"),
    *norm("fastformer_model.LayerNorm"),
    *under("fastformer_model.encoders.{}.", LAYER),
    *linear("fastformer_model.poolers.{}.att_fc1"),
    *linear("fastformer_model.poolers.{}.att_fc2"),
    *linear("dense_linear"),
)

# transformers has no such model: the authors' own files
LAYOUTS: dict[str, Rules] = {"paddle": RULES, "transformers": identity(RULES)}
