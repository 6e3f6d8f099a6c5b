"""Funnel-Transformer. All layouts have the same names; Paddle's transpose the Linear weights and nothing else.

The relative-attention parameters (`r_kernel` (D, n, d), the r_*_bias (n, d), `seg_embed` (2, n, d)) are no Linear
weights.
"""

from convert.rules import Alias, Rule, Rules, identity, keep, linear, norm, own_names, under

LAYER: Rules = (
    *keep("attention.r_w_bias"),
    *keep("attention.r_r_bias"),
    *keep("attention.r_kernel"),
    *keep("attention.r_s_bias"),
    *keep("attention.seg_embed"),
    *linear("attention.q_head", bias=False),
    *linear("attention.k_head"),
    *linear("attention.v_head"),
    *linear("attention.post_proj"),
    *norm("attention.layer_norm"),
    *linear("ffn.linear_1"),
    *linear("ffn.linear_2"),
    *norm("ffn.layer_norm"),
)

MODEL: Rules = (
    *keep("embeddings.word_embeddings.weight"),
    *norm("embeddings.layer_norm"),
    *under("encoder.blocks.{}.{}.", LAYER),
    *under("decoder.layers.{}.", LAYER),
)

HEADS: Rules = (
    *keep("lm_head.bias"),
    *linear("discriminator_predictions.dense"),
    *linear("discriminator_predictions.dense_prediction"),
    *linear("classifier.linear_hidden"),  # sequence classification, multiple choice
    *linear("classifier.linear_out"),
    *linear("classifier"),  # token classification
    *linear("qa_outputs"),
)

DECODER = Rule(  # (V, D) in every layout: the embedding's own tensor, also where PaddleNLP calls it a Linear
    "lm_head.weight",
    "lm_head.weight",
    Alias(of="funnel.embeddings.word_embeddings.weight", beside="lm_head.bias", option="tie_word_embeddings"),
)

PADDLENLP: Rules = (*MODEL, *under("funnel.", MODEL), *HEADS, DECODER)

LAYOUTS: dict[str, Rules] = {
    "paddle": own_names(PADDLENLP),
    "paddlenlp": PADDLENLP,
    "transformers": identity(PADDLENLP),
}
