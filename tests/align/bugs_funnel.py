"""Bugs and harmless rewrites of the Funnel-Transformer, after the catalogue of real porting bugs.

Most stand in the second block of the encoder, which pools and then applies its only layer twice, those of a head in the
task that has it. The probe's length of 29 is pooled to 15 and to 8.
"""

import numpy as np
import paddle
import paddle.nn.functional as F

from models_paddle.funnel import FunnelFactorizedScore, FunnelRelMultiheadAttention, FunnelUpsampling
from tests.align.sabotage import (
    Bug,
    Rewrite,
    at,
    bfloat16,
    every,
    fortran_order,
    function_of,
    gelu_by_hand,
    norm_by_hand,
    norm_in_float32,
    override,
    set_attribute,
    softmax_by_hand,
    start_and_end_swapped,
    swap,
    tf32,
    together,
)

HEADS, HEAD_WIDTH = 4, 6
LAYER = "encoder.blocks.1.0"
ATTENTION, FFN = f"{LAYER}.attention", f"{LAYER}.ffn"
SOFTMAX, NORM, ACT = f"{ATTENTION}.softmax", f"{FFN}.layer_norm", f"{FFN}.activation_function"
STRUCTURE = "encoder.attention_structure"

einsum = paddle.einsum


# The attention of one layer, each step of it open to another version -------------------------------------------------


STEPS = {
    "split": lambda self, x: x.unflatten(-1, self.heads),  # (B, L, N·d) → (B, L, N, d)
    "bias": lambda self, q, bias: (q + getattr(self, bias)) * self.scale,
    "score": lambda q, k: einsum("bqnd,bknd->bnqk", q, k),
    "join": lambda content, relative, not_cls: content + relative * not_cls,
    "mix": lambda probabilities, v: einsum("bnqk,bknd->bqnd", probabilities, v),
    "merge": lambda mixed: mixed.flatten(2),
}


def attention(path, **steps):
    def forward(self, original, query, context, structure):
        do = STEPS | steps
        positions, same_segment, not_cls, mask = structure
        q, k, v = (do["split"](self, x) for x in (self.q_head(query), self.k_head(context), self.v_head(context)))
        content = do["score"](do["bias"](self, q, "r_w_bias"), k)
        relative = self.position_score(do["bias"](self, q, "r_r_bias"), self.r_kernel, positions)
        relative = relative + self.segment_score(do["bias"](self, q, "r_s_bias"), self.seg_embed, same_segment)
        probabilities = self.attention_dropout(self.softmax(do["join"](content, relative, not_cls), mask))
        mixed = self.post_proj(do["merge"](do["mix"](probabilities, v)))
        return self.layer_norm(query + self.hidden_dropout(mixed))

    return override(path, forward)


def width_before_heads(self, x):
    return x.unflatten(-1, self.heads[::-1]).transpose([0, 1, 3, 2])


def matmul(q, k):
    return q.transpose([0, 2, 1, 3]) @ k.transpose([0, 2, 3, 1])


def cls_rows_cut_off(content, relative, not_cls):
    """`not_cls` as slices: CLS has nothing but content."""
    whole = content + relative
    below = paddle.concat([content[:, :, 1:, :1], whole[:, :, 1:, 1:]], -1)
    return paddle.concat([content[:, :, :1], below], 2)


def losing(lost, softmax=F.softmax):
    """A masked softmax in which a score loses `lost(padding)`, padding (B, K) is 1 at pads."""
    return lambda scores, mask: softmax(scores - lost(1 - mask)[:, None, None])


def beyond_the_best(value):
    """What the original loses: the value at pads, but nothing in a row of nothing else."""
    return lambda padding: value * (padding - padding.amin(-1, keepdim=True))


def tiled_over_the_batch(scores, mask):
    """Head n of sample b has the mask of the sample (b·N + n) mod B."""
    B, N, _, K = scores.shape
    return F.softmax(scores - 1e6 * (1 - mask.tile([N, 1]).reshape([B, N, 1, K])), -1)


def one_row_off(self, original, query, kernel, positions):
    """The relative shift with every distance one too small."""
    encoding, shift = positions
    return original(query, kernel, (encoding.roll(-1, 0), shift))


def by_gathering(query, kernel, positions):
    """The relative scores with each distance looked up, where the original slides."""
    encoding, shift = positions
    Q, R = query.shape[1], encoding.shape[0]
    rows = shift * (Q - paddle.arange(Q)[:, None]) + paddle.arange(R - shift * Q)
    distances = encoding[rows.flatten()].reshape([*rows.shape, -1])
    return einsum("bqnd,qknd->bnqk", query, einsum("qke,end->qknd", distances, kernel))


# What the attentions know of positions, segments and padding ---------------------------------------------------------


def encoding_by(encode):
    """Position tables [sin, cos] made otherwise: `encode(distances as a list, width)` → (R, D)."""

    def alter(model):
        structure = model.encoder.attention_structure

        def relative_shift(query, key, like):
            shift = query.step // key.step
            furthest = query.start + query.step * len(query) - key.start
            distances = [furthest - key.step * row for row in range(len(key) + shift * len(query))]
            return encode(paddle.to_tensor(distances, "float64")[:, None], structure.width).astype(like.dtype), shift

        structure._relative_shift = relative_shift

    return alter


def interleaved(distances, width):
    """Sine and cosine of a frequency side by side."""
    angles = distances / 10000.0 ** (2 * paddle.arange(width // 2).astype("float64") / width)
    return paddle.stack([angles.sin(), angles.cos()], -1).flatten(1)


def up_to_the_last_frequency(distances, width):
    """Frequencies 10000^(−i / (D/2 − 1)), so that the last is 1/10000."""
    angles = distances / 10000.0 ** (paddle.arange(width // 2).astype("float64") / (width // 2 - 1))
    return paddle.concat([angles.sin(), angles.cos()], -1)


def pooled_to(start=lambda stride: 1 - stride, stride=lambda step: 2 * step):
    """Other positions for pooled tokens."""

    def alter(model):
        structure = model.encoder.attention_structure

        def pool(types, mask, positions):
            types, mask, step = structure.pool_types(types), structure.pool_mask(mask), stride(positions.step)
            return types, mask, range(start(step), start(step) + step * types.shape[1], step)

        structure._pool = pool

    return alter


def segment_of_cls(model):
    """CLS is in the segment of its own type alone."""
    structure = model.encoder.attention_structure
    original = structure._between

    def between(query, key):
        positions, _, not_cls, mask = original(query, key)
        return positions, query[0][:, :, None] == key[0][:, None, :], not_cls, mask

    structure._between = between


def factorized(model):
    """The other formula for the same position scores (appendix A.2.2 for A.2.1)."""
    model.encoder.attention_structure.attention_type = "factorized"
    for layer in model.sublayers():
        if isinstance(layer, FunnelRelMultiheadAttention):
            layer.position_score = FunnelFactorizedScore()


# The encoder, the decoder and the whole ------------------------------------------------------------------------------


def lone_token_halved(self, original, x):
    """The mean of a window cut short, over two all the same: average pooling with `exclusive=False`."""
    x = paddle.concat([x[:, :1], x[:, :-1]], axis=1)
    return F.pad(x, (0, 0, 0, x.shape[1] % 2)).unflatten(1, [-1, 2]).mean(2)


def rounded_down(self, original, x):
    """The lone last token is lost."""
    return original(x)[:, : x.shape[1] // 2]


def average_pooled(self, original, x):
    x = paddle.concat([x[:, :1], x[:, :-1]], axis=1).transpose([0, 2, 1])
    return F.avg_pool1d(x, 2, 2, ceil_mode=True, exclusive=True).transpose([0, 2, 1])


def embeddings_for_the_first_block(self, original, hidden, types, mask):
    return original(hidden, types, mask)[0], hidden


def decoded(join=lambda upsampled, unpooled: upsampled + unpooled, layers=2):
    def forward(self, original, hidden, unpooled, types, mask):
        hidden = join(self.upsampling(hidden, unpooled.shape[1]), unpooled)
        ((_, structure),) = self.attention_structure(types, mask)
        for layer in self.layers[:layers]:
            hidden = layer(hidden, hidden, structure)
        return hidden

    return forward


def tiled(self, original, x, length):
    """The sequence is repeated as a whole, not token by token."""
    return paddle.concat([x[:, :1], x[:, 1:].tile([1, self.repeats, 1])], axis=1)[:, :length]


def repeated_to_the_end(self, original, x, length):
    """The last token stands where zeros should."""
    x = original(paddle.concat([x, x[:, -1:]], axis=1), length + self.repeats)
    return x[:, :length]


def gathered(self, original, x, length):
    """Token 1 + (i − 1) // repeats for position i, zeros beyond the last."""
    index = (paddle.arange(length) - 1) // self.repeats + 1
    return F.pad(x, (0, 0, 0, 1))[:, index.clip(max=x.shape[1])]


def encoded(types=lambda types: types, mask=lambda mask: mask):
    """The encoder alone, given other token types or another mask."""

    def forward(self, original, input_ids, attention_mask, token_type_ids):
        hidden = self.embeddings(input_ids)
        valid = mask(attention_mask).astype(hidden.dtype)
        return {"last_hidden_state": self.encoder(hidden, types(token_type_ids), valid)[0]}

    return override("", forward)


def head(function):
    """A model whose logits are `function(self, hidden)`, hidden (…, L, D)."""

    def alter(model):
        model.head = lambda hidden: function(model, hidden)

    return alter


def heads_moved(weights):
    """All that an attention has of each head in the place of the next."""
    for name in [name for name in weights if name.startswith(f"{ATTENTION}.")]:
        part = name.removeprefix(f"{ATTENTION}.").partition(".")[0]
        if part in ("q_head", "k_head", "v_head"):
            weights[name] = np.roll(weights[name], HEAD_WIDTH, -1)
        elif part in ("r_w_bias", "r_r_bias", "r_s_bias", "r_kernel", "seg_embed"):
            weights[name] = np.roll(weights[name], 1, -2)
    weights[f"{ATTENTION}.post_proj.weight"] = np.roll(weights[f"{ATTENTION}.post_proj.weight"], HEAD_WIDTH, 0)


CLS_NOT_APART = {"separate_cls": False}  # a CLS apart has no segment scores
ENDS_IN_ZEROS = {"length": 27}  # pooled to 14 and 7, and upsampled to 25

# fmt: off
BUGS = [
    # Norms and activations
    Bug.at("FW02", "eps_1e-12_in_one_layer", "encoder", NORM, set_attribute, _epsilon=1e-12),
    Bug.at("FW03", "eps_1e-8_in_the_attention", "encoder", f"{ATTENTION}.layer_norm", set_attribute, _epsilon=1e-8),
    Bug.at("FW04", "unbiased_variance", "encoder", NORM, norm_by_hand, unbiased=True),
    Bug.at("FW05", "eps_outside_the_root", "encoder", NORM, norm_by_hand, outside=True),
    Bug.at("FW06", "mean_not_removed", "encoder", NORM, norm_by_hand, centred=False),
    Bug.at("FW09", "embeddings_not_normalised", "encoder", "embeddings", override,
           lambda self, _, ids: self.dropout(self.word_embeddings(ids))),
    Bug.at("FW13", "gelu_by_erf", "encoder", ACT, set_attribute, _approximate=False),
    Bug.at("FW14", "gelu_by_erf_in_a_head", "replaced_token", "discriminator_predictions.activation", gelu_by_hand),
    Bug.at("FW15", "quick_gelu", "encoder", ACT, function_of, lambda x: x * F.sigmoid(1.702 * x)),
    Bug.at("FW16", "head_not_activated", "sequence_classification", "classifier.activation", function_of, lambda x: x),
    # Attention and its mask
    Bug.at("FW20", "biases_not_scaled", "encoder", ATTENTION, attention,
           bias=lambda self, q, bias: q * self.scale + getattr(self, bias)),
    Bug.at("FW20", "scale_off_by_1e-6", "encoder", ATTENTION, set_attribute, scale=HEAD_WIDTH**-0.5 * (1 + 1e-6)),
    Bug("FW21", "mask_inverted", "encoder", "<root>", encoded(mask=lambda mask: 1 - mask)),
    Bug.at("FW22", "mask_ignored_by_one_layer", "encoder", SOFTMAX, function_of, losing(paddle.zeros_like)),
    Bug.at("FW24", "mask_tiled_over_the_batch", "encoder", SOFTMAX, function_of, tiled_over_the_batch),
    Bug.at("FW27", "empty_row_loses_its_digits", "encoder", SOFTMAX, function_of,
           losing(lambda padding: 1e6 * padding)),
    Bug.at("FW26", "mask_beyond_float32", "encoder", SOFTMAX, function_of, losing(lambda padding: 1e39 * padding)),
    Bug.at("FW27", "empty_row_masked_by_-1e30", "encoder", SOFTMAX, function_of,
           losing(lambda padding: 1e30 * padding)),
    Bug.at("FW30", "width_before_heads", "encoder", ATTENTION, attention, split=width_before_heads),
    Bug.at("FW44", "relative_scores_of_cls", "encoder", ATTENTION, attention,
           join=lambda content, relative, not_cls: content + relative),
    Bug.at("FW44", "no_content_for_cls", "encoder", ATTENTION, attention,
           join=lambda content, relative, not_cls: (content + relative) * not_cls),
    # Positions and segments
    Bug("FW41", "sines_and_cosines_interleaved", "encoder", STRUCTURE, encoding_by(interleaved)),
    Bug("FW41", "frequencies_up_to_the_last", "encoder", STRUCTURE, encoding_by(up_to_the_last_frequency)),
    Bug.at("FW42", "relative_shift_off_by_one", "encoder", f"{ATTENTION}.position_score", override, one_row_off),
    Bug("FW42", "pooled_cls_at_0", "encoder", STRUCTURE, pooled_to(start=lambda stride: 0)),
    Bug("FW42", "stride_not_doubled", "encoder", STRUCTURE, pooled_to(stride=lambda step: 2)),
    Bug("FW45", "types_ignored", "encoder", "<root>", encoded(types=paddle.zeros_like)),
    Bug("FW46", "cls_in_its_own_segment", "encoder", STRUCTURE, segment_of_cls, config=CLS_NOT_APART),
    Bug("FW46", "cls_of_type_0", "encoder", "<root>", encoded(types=lambda types: paddle.where(types == 2, 0, types)),
        config=CLS_NOT_APART),
    Bug.at("FW53", "dropout_of_sines_active", "encoder", f"{STRUCTURE}.sin_dropout", override,
           lambda self, _, x: F.dropout(x, self.p)),
    # Pooling and upsampling
    Bug.at("FW44", "cls_not_apart", "encoder", "encoder.pooling", set_attribute, separate_cls=False),
    Bug.at("FW44", "cls_not_apart_in_attention", "encoder", STRUCTURE, set_attribute, separate_cls=False),
    Bug.at("FW44", "sequence_not_truncated", "encoder", "encoder.pooling", set_attribute, truncate_seq=False),
    Bug.at("FW44", "rounded_down", "encoder", "encoder.pooling", override, rounded_down),
    Bug.at("FW44", "largest_of_states", "encoder", "encoder.pooling", set_attribute, mode="max"),
    Bug.at("FW44", "mask_by_the_other_rule", "encoder", f"{STRUCTURE}.pool_mask", set_attribute, mode="max"),
    Bug.at("FW44", "largest_of_types", "encoder", f"{STRUCTURE}.pool_types", set_attribute, mode="max"),
    Bug("FW44", "keys_pooled_too", "encoder", "encoder",
        together(set_attribute("encoder", pool_q_only=False), set_attribute(STRUCTURE, pool_q_only=False))),
    Bug.at("FW61", "lone_token_halved", "encoder", "encoder.pooling", override, lone_token_halved),
    Bug("FW60", "last_token_for_zeros", "backbone", "decoder.upsampling",
        override("decoder.upsampling", repeated_to_the_end), case=ENDS_IN_ZEROS),
    Bug.at("FW62", "tiled_for_repeated", "backbone", "decoder.upsampling", override, tiled),
    Bug.at("FW71", "no_states_of_the_first_block", "backbone", "decoder", override, decoded(lambda pooled, _: pooled)),
    Bug.at("FW72", "embeddings_for_the_first_block", "backbone", "encoder", override, embeddings_for_the_first_block),
    # Other layers and heads
    Bug.at("FW51", "no_value_bias", "encoder", f"{ATTENTION}.v_head", set_attribute, bias=None),
    Bug.at("FW68", "tf32", "encoder", f"{FFN}.linear_2", tf32),
    Bug.at("FW50", "no_mlm_bias", "masked_lm", "lm_head", override, lambda self, _, x: x @ self.weight.T),
    Bug.at("FW56", "start_and_end_swapped", "question_answering", "", override, start_and_end_swapped),
    Bug("FW72", "mean_pooled", "sequence_classification", "<root>",
        head(lambda self, hidden: self.classifier(hidden.mean(1)))),
    # Conversion
    Bug.at("CV15", "blocks_not_repeated", "encoder", "encoder", set_attribute, block_repeats=(1, 1, 1)),
    Bug.at("CV15", "one_decoder_layer_less", "backbone", "decoder", override, decoded(layers=1)),
    Bug.weight("CV02", "head_not_transposed", "sequence_classification", "classifier.linear_hidden.weight",
               np.transpose),
    Bug.weight("CV03", "r_kernel_in_fortran_order", "encoder", f"{ATTENTION}.r_kernel", fortran_order),
    Bug.weight("CV04", "r_s_bias_unmapped", "encoder", f"{ATTENTION}.r_s_bias", np.zeros_like),
    Bug("CV08", "query_and_key_swapped", "encoder", f"{ATTENTION}.q_head",
        weights=swap(f"{ATTENTION}.q_head.weight", f"{ATTENTION}.k_head.weight")),
    Bug("CV08", "r_w_and_r_r_swapped", "encoder", ATTENTION,
        weights=swap(f"{ATTENTION}.r_w_bias", f"{ATTENTION}.r_r_bias")),
    Bug.weight("CV08", "segments_swapped", "encoder", f"{ATTENTION}.seg_embed", lambda a: a[::-1]),
    Bug.weight("CV09", "r_kernel_width_before_heads", "encoder", f"{ATTENTION}.r_kernel",
               lambda a: a.reshape(-1, HEAD_WIDTH, HEADS).swapaxes(1, 2)),
    Bug("CV11", "layers_in_another_order", "backbone", "decoder.layers.0.attention.q_head",
        weights=swap("decoder.layers.0", "decoder.layers.1")),
    Bug.weight("CV16", "one_value_in_bfloat16", "encoder", f"{ATTENTION}.r_kernel", at((3, slice(2, 3), 1), bfloat16)),
]

REWRITES = [
    Rewrite("norms_by_hand", "encoder", every(paddle.nn.LayerNorm, norm_by_hand)),
    Rewrite("gelu_by_hand", "encoder", every(paddle.nn.GELU, gelu_by_hand, tanh=True)),
    Rewrite("norm_in_float32", "encoder", norm_in_float32(NORM), note=f"{NORM}: .*float32 island"),
    Rewrite("matmul", "encoder", attention(ATTENTION, score=matmul)),
    Rewrite("cls_rows_cut_off", "encoder", attention(ATTENTION, join=cls_rows_cut_off)),
    Rewrite("softmax_by_hand", "encoder", function_of(SOFTMAX, losing(beyond_the_best(1e6), softmax_by_hand))),
    Rewrite("mask_of_1e4", "encoder", function_of(SOFTMAX, losing(beyond_the_best(1e4)))),
    Rewrite("distances_gathered", "encoder", function_of(f"{ATTENTION}.position_score", by_gathering)),
    Rewrite("cls_in_its_own_segment", "encoder", segment_of_cls,
            note=f"{STRUCTURE}: .*harmless: encoder agrees as a whole"),
    Rewrite("factorized", "encoder", factorized, note="edges at: encoder.attention_structure"),
    Rewrite("average_pooled", "encoder", override("encoder.pooling", average_pooled)),
    Rewrite("gathered", "backbone", every(FunnelUpsampling, override, function=gathered), case=ENDS_IN_ZEROS),
    Rewrite("heads_moved", "encoder", weights=heads_moved,
            note=f"{ATTENTION}.q_head: .*harmless: {ATTENTION} agrees as a whole"),
    Rewrite("no_key_bias", "encoder", set_attribute(f"{ATTENTION}.k_head", bias=None),
            note=f"{ATTENTION}.k_head: .*harmless: {ATTENTION} agrees as a whole"),
]
# fmt: on
