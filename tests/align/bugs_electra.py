"""Bugs and harmless rewrites of ELECTRA, after the catalogue of real porting bugs.

Most stand in the second of the backbone's three layers, those of a head in the task that has it.
"""

import math

import numpy as np
import paddle
import paddle.nn.functional as F

from tests.align.sabotage import (
    Bug,
    Rewrite,
    as_initialised,
    at,
    change,
    every,
    float16,
    function_of,
    gelu_by_hand,
    norm_by_hand,
    norm_in_float32,
    override,
    row_of_the_next,
    set_attribute,
    softmax_by_hand,
    start_and_end_swapped,
    swap,
    untied,
)

HIDDEN, HEADS, HEAD_WIDTH = 40, 4, 10
LAYER = "encoder.layer.1"
ATTENTION = f"{LAYER}.attention.self"
NORM, ACT = f"{LAYER}.output.LayerNorm", f"{LAYER}.intermediate.intermediate_act_fn"
DENSE = f"{LAYER}.output.dense"
WORDS, POSITIONS = "embeddings.word_embeddings", "embeddings.position_embeddings"
MLM_NORM = "generator_predictions.LayerNorm"


# The self-attention of one layer, each step of it open to another version -------------------------------------------


def dot(q, k):
    return q @ k.transpose([0, 1, 3, 2])


def merged(context):
    return context.transpose([0, 2, 1, 3]).flatten(2)


STEPS = {
    "split": lambda self, x: self.split(x),  # (B, L, D) → (B, H, L, d)
    "score": lambda q, k: dot(q, k) / math.sqrt(q.shape[-1]),
    "mask": lambda scores, mask: scores + mask,
    "softmax": lambda self, scores: self.dropout(self.softmax(scores)),
    "mix": lambda probabilities, v: merged(probabilities @ v),
}


def attention(path, **steps):
    def forward(self, original, hidden, mask):
        do = STEPS | steps
        q, k, v = (do["split"](self, project(hidden)) for project in (self.query, self.key, self.value))
        return do["mix"](do["softmax"](self, do["mask"](do["score"](q, k), mask)), v)

    return override(path, forward)


def heads_before_length(self, x):
    return x.reshape([x.shape[0], self.heads, x.shape[1], -1])


def width_before_heads(self, x):
    return x.unflatten(-1, (-1, self.heads)).transpose([0, 3, 1, 2])


def tiled_over_the_batch(scores, mask):
    """Head h of sample b has the mask of the sample (b·H + h) mod B."""
    B, H, _, L = scores.shape
    return scores + mask.tile([H, 1, 1, 1]).reshape([B, H, 1, L])


def fused(self, original, hidden, mask):
    """Paddle's own attention, which wants (B, L, H, d)."""
    q, k, v = (project(hidden).unflatten(-1, (self.heads, -1)) for project in (self.query, self.key, self.value))
    return F.scaled_dot_product_attention(q, k, v, mask, training=False).flatten(2)


def fused_over_heads(self, original, hidden, mask):
    """Paddle's own attention in torch's layout (B, H, L, d): it attends over heads."""
    q, k, v = (self.split(project(hidden)) for project in (self.query, self.key, self.value))
    return merged(F.scaled_dot_product_attention(q, k, v, training=False))


def projected_at_once(self, original, hidden, mask):
    """One product for queries, keys and values."""
    parts = (self.query, self.key, self.value)
    weight = paddle.concat([part.weight for part in parts], -1)
    packed = F.linear(hidden, weight, paddle.concat([part.bias for part in parts]))
    q, k, v = (self.split(x) for x in packed.split(3, -1))
    return STEPS["mix"](self.dropout(self.softmax(STEPS["score"](q, k) + mask)), v)


# The backbone --------------------------------------------------------------------------------------------------------


def masked_with(make):
    """A model that makes another additive mask: `make(padding)`, padding (B, 1, 1, L) is 1 at pads."""

    def forward(self, original, input_ids, attention_mask, token_type_ids):
        hidden = self.embeddings_project(self.embeddings(input_ids, token_type_ids))
        padding = 1.0 - attention_mask[:, None, None].astype(hidden.dtype)
        return {"last_hidden_state": self.encoder(hidden, make(padding))}

    return override("", forward)


def mask_of(value):
    return masked_with(lambda padding: padding * value)


def minus_infinity(padding):
    return paddle.where(padding == 1, paddle.full_like(padding, -math.inf), paddle.zeros_like(padding))


def least(tensor):
    return paddle.finfo(tensor.dtype).min


def kept_from_the_first_batch():
    """An additive mask that is made once for each dtype."""
    masks = {}
    return lambda padding: masks.setdefault(padding.dtype, padding * least(padding))


def types_1_by_default(self, original, ids, token_type_ids=None):
    return original(ids, paddle.ones_like(ids) if token_type_ids is None else token_type_ids)


def count(ids):
    return paddle.arange(ids.shape[1])


def embedded(positions=count, types=lambda types: types, words=lambda x: x, norm=lambda self, x: self.LayerNorm(x)):
    def forward(self, original, ids, token_type_ids):
        added = self.position_embeddings(positions(ids)) + self.token_type_embeddings(types(token_type_ids))
        return self.dropout(norm(self, words(self.word_embeddings(ids)) + added))

    return override("embeddings", forward)


def norm_after_projection(model):
    """A LayerNorm of the hidden width, behind the projection."""
    embedded(norm=lambda self, x: x)(model)
    model.embeddings.LayerNorm = paddle.nn.LayerNorm(HIDDEN, epsilon=1e-12)
    override("embeddings_project", lambda self, original, x: model.embeddings.LayerNorm(original(x)))(model)


def counting_tokens(ids):
    """RoBERTa's positions: 0 at pads, the first token has 1."""
    token = (ids != 0).astype("int64")
    return token.cumsum(1) * token


def one_layer_unmasked(self, original, hidden, mask):
    first, second, third = self.layer
    return third(second(first(hidden, mask), paddle.zeros_like(mask)), mask)


def residual_from_before_the_attention(self, original, hidden, mask):
    return self.output(self.intermediate(self.attention(hidden, mask)), hidden)


def doubles_its_input(self, original, x):
    """The caller's tensor, which is the next residual, changes under its hands."""
    inner = original(x)
    x.scale_(2.0)
    return inner


# Heads ---------------------------------------------------------------------------------------------------------------


def score(function):
    """A model whose logits are `function(self, hidden)`, hidden (…, L, D)."""

    def alter(model):
        model.score = lambda hidden: function(model, hidden)

    return alter


def choices_before_batch(self, original, input_ids, attention_mask, token_type_ids, labels=None):
    """Rows in the order (choice, example), their states read in the order (example, choice)."""
    flat = (x.transpose([1, 0, 2]).flatten(0, 1) for x in (input_ids, attention_mask, token_type_ids))
    hidden = self.electra(*flat)["last_hidden_state"].unflatten(0, input_ids.shape[:-1])
    return {"logits": self.score(hidden)}


def joint(
    logits=lambda logits: logits,
    replace=lambda masked, sampled, ids: paddle.where(masked, sampled, ids),
    label=lambda masked, sampled, labels: masked & (sampled != labels),
):
    """Joint pre-training that samples from other logits, replaces other words, or labels them otherwise."""

    def forward(self, original, input_ids, attention_mask, token_type_ids, labels, sampling_noise):
        generator = self.generator(input_ids, attention_mask, token_type_ids, labels)
        sampled, masked = self.sampler(logits(generator["logits"]), sampling_noise), labels != -100
        ids, replaced = replace(masked, sampled, input_ids), label(masked, sampled, labels).astype("int64")
        discriminator = self.discriminator(ids, attention_mask, token_type_ids, replaced)
        losses = {"generator_loss": generator["loss"], "discriminator_loss": discriminator["loss"]}
        loss = self.weights[0] * generator["loss"] + self.weights[1] * discriminator["loss"]
        outputs = {"generator_logits": generator["logits"], "logits": discriminator["logits"]}
        return outputs | {"replaced_ids": ids, "replaced_labels": replaced} | losses | {"loss": loss}

    return override("", forward)


def all_but_the_last(masked, sampled, ids):
    """The last masked position keeps its mask."""
    last = masked.flatten().nonzero().max()
    return paddle.where(masked & (paddle.arange(masked.size) != last).reshape(masked.shape), sampled, ids)


def padding_judged(self, original, input_ids, attention_mask, token_type_ids, labels):
    logits = self.score(self.electra(input_ids, attention_mask, token_type_ids)["last_hidden_state"])
    return {"logits": logits, "loss": self.loss(logits, labels)}


def labels_overwritten(self, original, logits, labels):
    """−100 becomes 0 in the caller's labels, so that all positions count as masked afterwards."""
    loss = original(logits, labels)
    labels[labels == -100] = 0
    return loss


# Weights -------------------------------------------------------------------------------------------------------------


def packed_head_by_head(weights):
    """q, k and v packed as [H, 3, d] and taken apart as [3, H, d]."""
    for leaf in ("weight", "bias"):
        names = [f"{ATTENTION}.{part}.{leaf}" for part in ("query", "key", "value")]
        packed = np.stack([weights[name].reshape(-1, HEADS, HEAD_WIDTH) for name in names], 2)
        for name, part in zip(names, np.split(packed.reshape(len(packed), -1), 3, 1), strict=True):
            weights[name] = part.reshape(weights[name].shape)


def heads_moved(weights):
    """All four projections of an attention with each head in the place of the next."""
    for name in (f"{ATTENTION}.{part}.{leaf}" for part in ("query", "key", "value") for leaf in ("weight", "bias")):
        weights[name] = np.roll(weights[name], HEAD_WIDTH, -1)
    out = f"{LAYER}.attention.output.dense.weight"
    weights[out] = np.roll(weights[out], HEAD_WIDTH, 0)


# fmt: off
BUGS = [
    # Norms and activations
    Bug("FW01", "eps_1e-5_everywhere", "backbone", "embeddings.LayerNorm",
        every(paddle.nn.LayerNorm, set_attribute, _epsilon=1e-5)),
    Bug.at("FW02", "eps_1e-5_in_the_mlm_head", "masked_lm", MLM_NORM, set_attribute, _epsilon=1e-5),
    Bug.at("FW03", "eps_1e-7_in_the_embeddings", "backbone", "embeddings.LayerNorm", set_attribute, _epsilon=1e-7),
    Bug.at("FW03", "eps_1e-8_in_one_layer", "multiple_choice", f"electra.{NORM}", set_attribute, _epsilon=1e-8),
    Bug.at("FW08", "norm_before_the_sublayer", "backbone", f"{LAYER}.attention.output", override,
           lambda self, _, x, residual: residual + self.dropout(self.dense(self.LayerNorm(x)))),
    Bug("FW09", "norm_after_the_projection", "backbone", "embeddings", norm_after_projection),
    Bug.at("FW50", "mlm_head_without_norm", "masked_lm", "generator_predictions", override,
           lambda self, _, x: self.activation(self.dense(x))),
    Bug.at("FW13", "gelu_by_tanh", "backbone", ACT, set_attribute, _approximate=True),
    Bug.at("FW14", "gelu_by_tanh_in_a_head", "masked_lm", "generator_predictions.activation", gelu_by_hand, tanh=True),
    Bug.at("FW14", "relu_in_a_head", "replaced_token", "discriminator_predictions.activation", function_of, F.relu),
    Bug.at("FW16", "tanh_in_a_head", "sequence_classification", "classifier.activation", function_of, F.tanh),
    Bug.at("FW16", "summary_not_activated", "multiple_choice", "sequence_summary.activation", function_of, lambda x: x),
    # Attention and its mask
    Bug.at("FW18", "softmax_over_queries", "backbone", f"{ATTENTION}.softmax", set_attribute, _axis=-2),
    Bug.at("FW19", "no_scale", "backbone", ATTENTION, attention, score=dot),
    Bug.at("FW20", "scale_of_the_hidden_width", "backbone", ATTENTION, attention,
           score=lambda q, k: dot(q, k) / math.sqrt(HIDDEN)),
    Bug.at("FW20", "scale_off_by_1e-6", "backbone", ATTENTION, attention,
           score=lambda q, k: dot(q, k) / math.sqrt(HEAD_WIDTH) * (1 + 1e-6)),
    Bug("FW21", "mask_inverted", "backbone", "<root>", masked_with(lambda padding: (1 - padding) * least(padding))),
    Bug.at("FW21", "mask_subtracted", "backbone", ATTENTION, attention, mask=lambda scores, mask: scores - mask),
    Bug.at("FW22", "mask_ignored_by_one_layer", "backbone", ATTENTION, attention, mask=lambda scores, mask: scores),
    Bug.at("FW22", "mask_not_passed_to_one_layer", "backbone", "encoder", override, one_layer_unmasked),
    Bug("FW23", "mask_on_the_queries", "backbone", "<root>",
        masked_with(lambda padding: padding.transpose([0, 1, 3, 2]) * least(padding))),
    Bug.at("FW24", "mask_tiled_over_the_batch", "backbone", ATTENTION, attention, mask=tiled_over_the_batch),
    Bug("FW25", "mask_of_-10", "backbone", "<root>", mask_of(-10.0)),
    Bug.at("FW26", "mask_added_twice", "backbone", ATTENTION, attention, mask=lambda scores,
           mask: scores + mask + mask),
    Bug("FW26", "mask_beyond_float32", "backbone", "<root>", mask_of(-1e39)),
    Bug("FW27", "empty_row_masked_by_-1e4", "backbone", "<root>", mask_of(-1e4)),
    Bug("FW27", "empty_row_masked_by_-1e9", "backbone", "<root>", mask_of(-1e9)),
    Bug("FW27", "empty_row_masked_by_infinity", "backbone", "<root>", masked_with(minus_infinity)),
    Bug.at("FW27", "1e-9_in_the_denominator", "backbone", ATTENTION, attention,
           softmax=lambda self, scores: softmax_by_hand(scores, 1e-9)),
    Bug.at("FW29", "heads_split_without_transposing", "backbone", ATTENTION, attention, split=heads_before_length),
    Bug.at("FW30", "width_before_heads", "backbone", ATTENTION, attention, split=width_before_heads),
    Bug.at("FW31", "attends_over_heads", "backbone", ATTENTION, override, fused_over_heads),
    Bug.at("FW69", "softmax_in_float16", "backbone", f"{ATTENTION}.softmax", override,
           lambda self, original, scores: original(scores).astype("float16").astype(scores.dtype)),
    # Embeddings and layers
    Bug("FW38", "positions_from_1", "backbone", "embeddings", embedded(positions=lambda ids: count(ids) + 1)),
    Bug("FW38", "last_position_clipped", "backbone", "embeddings",
        embedded(positions=lambda ids: count(ids).clip(max=27))),
    Bug("FW39", "positions_count_tokens", "backbone", "embeddings", embedded(positions=counting_tokens)),
    Bug("FW45", "types_ignored", "backbone", "embeddings", embedded(types=paddle.zeros_like)),
    Bug.at("FW47", "pad_row_zeroed", "backbone", WORDS, set_attribute, _padding_idx=0),
    Bug("FW48", "times_root_of_width", "backbone", "embeddings", embedded(words=lambda x: x * math.sqrt(x.shape[-1]))),
    Bug.at("FW51", "no_value_bias", "backbone", f"{ATTENTION}.value", set_attribute, bias=None),
    Bug.at("FW53", "dropout_active", "backbone", f"{LAYER}.output.dropout", override,
           lambda self, _, x: F.dropout(x, self.p)),
    Bug.at("FW54", "training_passed_as_axis", "backbone", f"{ATTENTION}.dropout", override,
           lambda self, _, x: F.dropout(x, self.p, self.training)),
    Bug.at("FW55", "downscale_in_infer", "token_classification", "dropout", set_attribute, mode="downscale_in_infer"),
    Bug.at("FW71", "residual_of_another_tensor", "backbone", LAYER, override, residual_from_before_the_attention),
    Bug.at("FW71", "residual_changed_in_place", "backbone", f"{LAYER}.intermediate", override, doubles_its_input),
    # Heads
    Bug.at("FW50", "no_mlm_bias", "masked_lm", "generator_lm_head", override, lambda self, _, x: x @ self.weight.T),
    Bug.at("FW56", "start_and_end_swapped", "question_answering", "", override, start_and_end_swapped),
    Bug.at("FW57", "choices_before_batch", "multiple_choice", "", override, choices_before_batch),
    Bug("FW72", "last_token_pooled", "sequence_classification", "<root>",
        score(lambda self, h: self.classifier(h[:, -1]))),
    Bug("LO12", "logits_not_squeezed", "replaced_token", "<root>",
        score(lambda self, h: self.discriminator_predictions(h))),
    # Joint pre-training
    Bug("FW25", "mask_of_-10_in_the_discriminator", "pretraining", "discriminator.electra",
        lambda model: mask_of(-10.0)(model.discriminator.electra)),
    Bug("FW57", "one_position_not_replaced", "pretraining", "<root>", joint(replace=all_but_the_last)),
    Bug("LO09", "sampled_one_position_late", "pretraining", "<root>", joint(logits=lambda logits: logits.roll(1, 1))),
    Bug("LO15", "restored_word_called_replaced", "pretraining", "<root>", joint(label=lambda masked, *_: masked)),
    Bug.at("LO01", "paddles_own_mean", "pretraining", "generator.loss", function_of, F.cross_entropy),
    Bug.at("LO05", "labels_changed_in_place", "pretraining", "generator.loss", override, labels_overwritten),
    Bug.at("LO14", "padding_judged", "pretraining", "discriminator", override, padding_judged),
    Bug.at("CV15", "temperature", "pretraining", "sampler", set_attribute, temperature=1.5),
    Bug.at("CV15", "heads_of_the_discriminator", "pretraining", "generator.electra.encoder.layer.0.attention.self",
           set_attribute, heads=HEADS),
    Bug("CV06", "position_table_unshared", "pretraining", f"discriminator.electra.{POSITIONS}",
        untied(f"discriminator.electra.{POSITIONS}"), change(f"discriminator.electra.{POSITIONS}.weight",
               as_initialised)),
    # Conversion
    Bug.weight("CV02", "query_not_transposed", "backbone", f"{ATTENTION}.query.weight", np.transpose),
    Bug.weight("CV04", "gamma_unmapped", "backbone", f"{NORM}.weight", np.ones_like),
    Bug.weight("CV04", "bias_unmapped", "replaced_token", "discriminator_predictions.dense_prediction.bias",
               np.zeros_like),
    Bug("CV07", "decoder_with_another_table", "masked_lm", "generator_lm_head",
        untied("generator_lm_head"), change("generator_lm_head.weight", as_initialised)),
    Bug("CV08", "query_and_key_swapped", "backbone", f"{ATTENTION}.query",
        weights=swap(f"{ATTENTION}.query", f"{ATTENTION}.key")),
    Bug.weight("CV08", "value_heads_moved", "backbone", f"{ATTENTION}.value.weight",
               lambda a: np.roll(a, HEAD_WIDTH, 1)),
    Bug("CV09", "packed_head_by_head", "backbone", f"{ATTENTION}.query", weights=packed_head_by_head),
    Bug("CV11", "layers_in_another_order", "backbone", f"{ATTENTION}.query", weights=swap(LAYER, "encoder.layer.2")),
    Bug.weight("CV16", "one_value_in_float16", "backbone", f"{DENSE}.weight", at((3, 7), float16)),
    Bug.weight("TK02", "one_word_has_the_next_row", "backbone", f"{WORDS}.weight", row_of_the_next(101)),
]



# What the forward stage cannot show on its one batch, and why.
UNSEEN = [
    # 5e-13 of the value where the variance is 1: half the limit's 1e-12.
    Bug.at("FW05", "eps_outside_the_root", "backbone", NORM, norm_by_hand, outside=True),
    # Two equal tables are one function; their gradients are not.
    Bug.at("CV06", "tied_table_copied", "masked_lm", "generator_lm_head", untied),
    # The batch names every input.
    Bug.at("FW45", "types_1_where_none_are_given", "backbone", "embeddings", override, types_1_by_default),
    # The next batch would have another mask.
    Bug("FW22", "mask_of_the_first_batch_kept", "backbone", "<root>", masked_with(kept_from_the_first_batch())),
]

NO_EMPTY_ROW = {"batch_size": 2}  # the probe's third row is the one without any token
REWRITES = [
    Rewrite("norms_by_hand", "backbone", every(paddle.nn.LayerNorm, norm_by_hand)),
    Rewrite("variance_in_one_pass", "backbone", every(paddle.nn.LayerNorm, norm_by_hand, one_pass=True)),
    Rewrite("gelu_by_hand", "masked_lm", every(paddle.nn.GELU, gelu_by_hand)),
    Rewrite("norm_in_float32", "backbone", norm_in_float32(NORM), note=f"{NORM}: .*float32 island"),
    Rewrite("query_scaled", "backbone", attention(ATTENTION, score=lambda q, k: dot(q / math.sqrt(HEAD_WIDTH), k))),
    Rewrite("einsum", "backbone",
            attention(ATTENTION, mix=lambda p, v: paddle.einsum("bhqk,bhkd->bqhd", p, v).flatten(2))),
    Rewrite("softmax_by_hand", "backbone", attention(ATTENTION, softmax=lambda self, scores: softmax_by_hand(scores)),
            note=f"only the torch model has edges at: {ATTENTION}.softmax, {ATTENTION}.dropout$"),
    Rewrite("fused_attention", "backbone", override(ATTENTION, fused),
            note=f"only the torch model has edges at: {ATTENTION}.softmax, {ATTENTION}.dropout$"),
    Rewrite("projected_at_once", "backbone", override(ATTENTION, projected_at_once),
            note=f"only the torch model has edges at: {ATTENTION}.query, {ATTENTION}.key, {ATTENTION}.value$"),
    Rewrite("heads_moved", "backbone", weights=heads_moved,
            note=f"{ATTENTION}.query: .*harmless: {LAYER}.attention agrees as a whole"),
    Rewrite("no_key_bias", "backbone", set_attribute(f"{ATTENTION}.key", bias=None),
            note=f"{ATTENTION}.key: .*harmless: {ATTENTION} agrees as a whole"),
    Rewrite("mask_of_float32", "backbone", mask_of(float(np.finfo(np.float32).min))),
    Rewrite("mask_of_-1e4", "backbone", mask_of(-1e4), case=NO_EMPTY_ROW),
    Rewrite("mask_of_-1e9", "backbone", mask_of(-1e9), case=NO_EMPTY_ROW),
    Rewrite("mask_of_infinity", "backbone", masked_with(minus_infinity), case=NO_EMPTY_ROW),
    Rewrite("positions_for_each_row", "backbone", embedded(positions=lambda ids: count(ids).expand_as(ids)),
            note="embeddings: .*harmless: embeddings agrees as a whole"),
]
# fmt: on
