"""More faults made by hand: attention, sums, parts, order, waves and losses."""

import numpy as np
from scipy.special import softmax as softmax_of

from align.explain.evidence import Evidence, Repair
from tests.align.explain.cases_modules import IDS, MIN, TOKENS, B, D, H, L, V, X, case, fault, normal

# Attention -----------------------------------------------------------------------------------------------------------

Q, K, VALUE = (normal(B, L, D, seed=s) for s in (8, 9, 10))
MASK = ((1.0 - TOKENS) * MIN)[:, None, None, :]


def split(x):
    return x.reshape(B, L, H, -1).transpose(0, 2, 1, 3)


def scores(scale=(D // H) ** -0.5, mask=MASK, q=None, k=None):
    q, k = split(Q) if q is None else q, split(K) if k is None else k
    with np.errstate(over="ignore"):
        return scale * q @ k.swapaxes(-1, -2) + mask


def softmax(x, axis=-1):
    return softmax_of(x, axis=axis)


PARTS = {"m.query:out": Q, "m.key:out": K, "m.value:out": VALUE}


def score_fault(actual):
    inputs = {"m:in0": X, "m:in1": MASK}
    return Evidence("m", "m.softmax:in0", scores(), actual, inputs=inputs, inside=PARTS, masked=True)


@case("^q·k is scaled by 1 instead of 0.4082 = 1/√6$")
def no_scale():
    return score_fault(scores(1.0))


@case("^q·k is scaled by 0.2041 = 1/√24 instead of")
def scale_of_the_width():
    return score_fault(scores(D**-0.5))


@case("^q·k is scaled by 1.00001 times the right scale")
def scale_slightly_off():
    return score_fault(scores((D // H) ** -0.5 * 1.00001))


@case("^the mask is not applied$")
def mask_ignored():
    return score_fault(scores(mask=0.0))


@case("^the mask is subtracted$")
def mask_subtracted():
    return score_fault(scores(mask=-MASK))


@case("^the mask is tiled over batch and heads in the wrong order")
def mask_tiled():
    return score_fault(scores(mask=np.tile(MASK, (H, 1, 1, 1)).reshape(B, H, 1, L)))


@case("^the mask is applied to the queries")
def mask_on_queries():
    return score_fault(scores(mask=MASK.swapaxes(-1, -2)))


@case("^query and key are swapped$")
def query_and_key_swapped():
    return score_fault(scores(q=split(K), k=split(Q)))


@case("^the heads of query and key are split without a transposition$")
def heads_not_transposed():
    return score_fault(scores(q=Q.reshape(B, H, L, -1), k=K.reshape(B, H, L, -1)))


@case("^the heads of the query are split width before heads$")
def width_before_heads():
    return score_fault(scores(q=Q.reshape(B, L, -1, H).transpose(0, 3, 1, 2)))


@case("^in the product of the output of query [+] r_bias and the output of key the heads of the key are split width")
def width_before_heads_beside_relative_scores():
    bias, relative = normal(H, D // H, seed=25), normal(B, H, L, L, seed=26)
    q = split(Q + bias.reshape(-1))
    turned = K.reshape(B, L, -1, H).transpose(0, 3, 1, 2)
    expected, actual = (scores(mask=relative, q=q, k=k) for k in (split(K), turned))
    return Evidence("m", "m.softmax:in0", expected, actual, inside=PARTS, parameters={"r_bias": bias})


@case("^a causal mask is added$")
def causal():
    return score_fault(scores() + np.triu(np.full((L, L), -1e9), 1))


@case("^2 heads instead of 4$")
def other_heads():
    q, k = (x.reshape(B, L, 2, -1).transpose(0, 2, 1, 3) for x in (Q, K))
    return score_fault(scores((D // 2) ** -0.5, q=q, k=k))


def merged(p, v=None):
    return (p @ (split(VALUE) if v is None else v)).transpose(0, 2, 1, 3).reshape(B, L, D)


def context_fault(actual):
    p = softmax(scores())
    inside = {**PARTS, "m.softmax:in0": scores(), "m.softmax:out": p}
    return Evidence("m", "m:out", merged(p), actual, inputs={"m:in0": X, "m:in1": MASK}, inside=inside)


@case("^the heads of the value are split width before heads$")
def value_width_before_heads():
    return context_fault(merged(softmax(scores()), VALUE.reshape(B, L, -1, H).transpose(0, 3, 1, 2)))


@case("^the heads are merged without a transposition$")
def heads_merged():
    return context_fault((softmax(scores()) @ split(VALUE)).reshape(B, L, D))


@case("^the mask is not applied$")
def fused_without_mask():
    return context_fault(merged(softmax(scores(mask=0.0))))


@case("^1e-06 more stands in the denominator of softmax$")
def more_in_the_denominator():
    x = np.exp(scores() - scores().max(-1, keepdims=True))
    return context_fault(merged(x / (x.sum(-1, keepdims=True) + 1e-6)))


def probability_fault(actual):
    return fault(softmax(normal(B, H, L, L)), actual, normal(B, H, L, L))


@case("^softmax over axis 2 instead of 3$")
def softmax_over_queries():
    return probability_fault(softmax(normal(B, H, L, L), 2))


@case("temperature 1.7")
def temperature():
    return probability_fault(softmax(normal(B, H, L, L) / 1.7))


@case("^its values are rounded to float16")
def probabilities_in_float16():
    return probability_fault(softmax(normal(B, H, L, L)).astype(np.float16).astype(np.float64))


@case("^masked scores lose 10000, in a row without any token too$")
def softmax_with_its_own_mask():
    x, lost = normal(B, H, L, L), (1.0 - TOKENS)[:, None, None, :]
    relieved = lost - lost.min(-1, keepdims=True)
    return fault(softmax(x - 1e6 * relieved), softmax(x - 1e4 * lost), x, TOKENS.astype(np.float64))


# Sums, parts, order --------------------------------------------------------------------------------------------------

WORDS, TYPES, PLACES = normal(B, L, D, seed=11), normal(B, L, D, seed=12), normal(L, D, seed=13)
TERMS = {"m.words:out": WORDS, "m.types:out": TYPES, "m.places:out": PLACES}


def sum_fault(actual, edge="m.norm:in0"):
    return Evidence("m", edge, WORDS + TYPES + PLACES, actual, inputs={"m:in0": IDS}, inside=TERMS)


@case("^the output of words is taken 4.899 = √24 instead of 1 times$")
def words_times_root():
    return sum_fault(WORDS * np.sqrt(D) + TYPES + PLACES)


@case("^the output of types is not added$")
def types_not_added():
    return sum_fault(WORDS + PLACES)


@case("^the output of places enters in another order: moved by [+]1 along axis 0")
def places_moved():
    inside = {"m.words:out": WORDS, "m.places:out": PLACES}
    return Evidence("m", "m.norm:in0", WORDS + PLACES, WORDS + np.roll(PLACES, 1, 0), inside=inside)


@case("^its input 1 is added where its input 0 should be$")
def residual_from_elsewhere():
    return fault(X + WORDS, TYPES + WORDS, X, TYPES, WORDS, edge="m.norm:in0")


@case("^r_bias is taken 1 instead of 0.4082 = 1/√6 times$")
def bias_not_scaled():
    q, bias = normal(B, L, H, 6), normal(H, 6, seed=3)
    inside = {"m.q:out": q.reshape(B, L, -1)}
    return Evidence(
        "m", "m.s:in0", (q + bias) / np.sqrt(6), q / np.sqrt(6) + bias, inside=inside, parameters={"r_bias": bias}
    )


@case("^the output of score is added, where its input 0 is 0$")
def added_where_masked():
    free = np.ones((L, L))
    free[0] = free[:, 0] = 0.0
    content, score = normal(B, H, L, L, seed=14), normal(B, H, L, L, seed=15)
    inputs, inside = {"m:in0": free}, {"m.score:out": score}
    return Evidence("m", "m.softmax:in0", content + score * free, content + score, inputs=inputs, inside=inside)


@case("^it is nothing but the output of score, where its input 0 is 1$")
def nothing_but_the_masked_score():
    free = np.ones((L, L))
    free[0] = free[:, 0] = 0.0
    content, score = normal(B, H, L, L, seed=14), normal(B, H, L, L, seed=15)
    inputs, inside = {"m:in0": free}, {"m.score:out": score}
    return Evidence("m", "m.softmax:in0", content + score * free, score * free, inputs=inputs, inside=inside)


@case("^r_bias · the output of k is not added, or is subtracted$")
def bias_of_all_scores_lost():
    q, k, bias = normal(B, L, H, 6), normal(B, L, H, 6, seed=2), normal(H, 6, seed=3)
    content, lost = (np.einsum("bqhd,bkhd->bhqk", x, k) for x in (q + bias, np.broadcast_to(bias, q.shape)))
    inside = {"m.k:out": k.reshape(B, L, -1)}
    return Evidence("m", "m.softmax:in0", content, content - lost, inside=inside, parameters={"r_bias": bias})


@case("^it is multiplied by its input 0$")
def multiplied_by_the_mask():
    return fault(WORDS, WORDS * TOKENS[..., None], TOKENS.astype(np.float64))


@case("^the output of dense is returned as it is, not what norm makes of it$")
def norm_skipped():
    inside = {"m.dense:out": WORDS, "m.norm:in0": WORDS, "m.norm:out": TYPES}
    return Evidence("m", "m:out", TYPES, WORDS, inputs={"m:in0": X}, inside=inside, outputs={"m:out": TYPES})


@case("^token 6 .the last. of the output of encoder is passed on instead of token 0$")
def last_token_of_each_choice():
    states = normal(B * 3, L, D, seed=22)
    of_choices = states.reshape(B, 3, L, D)
    inside = {"m.encoder:out": states}
    return Evidence("m", "m.classifier:in0", of_choices[:, :, 0], of_choices[:, :, -1], inside=inside)


@case("^its output end is returned as it is$")
def outputs_swapped():
    start, end = normal(B, L, seed=16), normal(B, L, seed=17)
    return Evidence("m", "m:out.start", start, end, outputs={"m:out.start": start, "m:out.end": end})


@case("^token 6 .the last. of its input 0 is passed on instead of token 0$")
def last_token():
    return fault(WORDS[:, 0], WORDS[:, -1], WORDS, edge="m.classifier:in0")


@case("^the mean over the tokens of its input 0 is passed on instead of token 0$")
def mean_of_tokens():
    return fault(WORDS[:, 0], WORDS.mean(1), WORDS, edge="m.classifier:in0")


@case("not padding of its input 0 is passed on instead of token 0$")
def mean_without_padding():
    count = np.maximum(TOKENS.sum(1), 1)[:, None]
    mean = (WORDS * TOKENS[..., None]).sum(1) / count
    return fault(WORDS[:, 0], mean, WORDS, edge="m.classifier:in0", batch={"attention_mask": TOKENS})


@case("^it is its input 0, along axis 1 in the order 0s 0 0s 1 0s 2 .*right is along axis 1 in the order 0 1 2 0s")
def filled_up_between():
    x, zero = WORDS[:, :3], 0 * WORDS[:, :1]
    apart = [zero, x[:, :1], zero, x[:, 1:2], zero, x[:, 2:]]
    return fault(np.concatenate([x, zero, zero, zero], 1), np.concatenate(apart, 1), x)


@case("^it has the right numbers in another order: moved by [+]1 along axis 1, around the end$")
def moved_by_one():
    return fault(WORDS, np.roll(WORDS, 1, 1), edge="m.next:in0")


@case("moved by -1 along axis 1, zeros move in$")
def shifted_with_zeros():
    return fault(WORDS, np.concatenate([WORDS[:, 1:], 0 * WORDS[:, :1]], 1), edge="m.next:in0")


@case("axes 2, 3 .24 numbers. split as 6 × 4 and transposed$")
def regrouped():
    x = normal(B, L, H, 6)
    return fault(x, x.reshape(B, L, 6, H).transpose(0, 1, 3, 2), edge="m.next:in0")


@case("^it is its input 0, along axis 1 in the order 0 1 2 3 1 2 3 .*right is along axis 1 in the order 0 1 1 2 2 3 3")
def tiled_for_repeated():
    x = WORDS[:, :4]
    return fault(x[:, [0, 1, 1, 2, 2, 3, 3]], x[:, [0, 1, 2, 3, 1, 2, 3]], x)


@case("^its input 0 is pooled otherwise: the largest of 2 instead of the mean of 2$")
def pooled_by_maximum():
    windows = WORDS[:, :6].reshape(B, 3, 2, D)
    return fault(windows.mean(2), windows.max(2), WORDS[:, :6])


@case("^dropout: .* are zero that are not in torch, the others taken 1.111 times$")
def dropout_active():
    kept = np.random.default_rng(1).random(WORDS.shape) > 0.1
    return fault(WORDS, WORDS * kept / 0.9, WORDS, facts={"p": 0.1})


@case("^all is taken 1 − 0.1 times")
def downscaled():
    return fault(WORDS, WORDS * 0.9, WORDS, facts={"p": 0.1})


@case("^it is scaled by 0.5 at index 6 .the last. along axis 1, and right elsewhere$")
def last_halved():
    return fault(WORDS, WORDS * np.where(np.arange(L) == L - 1, 0.5, 1.0)[:, None])


# Tables of waves, rotations ------------------------------------------------------------------------------------------


def angles(start=-3, base=1e4, count=D // 2, last=D // 2):
    return np.arange(start, start + 9)[:, None] * base ** (-np.arange(count) / last)


def waves(a):
    return np.concatenate([np.sin(a), np.cos(a)], -1)


@case("^the table has sines and cosines interleaved instead of sines, then cosines$")
def waves_interleaved():
    a = angles()
    return fault(waves(a), np.stack([np.sin(a), np.cos(a)], -1).reshape(9, -1))


@case("^the frequencies are 10000.*/11")
def frequencies_to_the_last():
    return fault(waves(angles()), waves(angles(last=D // 2 - 1)))


@case("^the base of the frequencies is 100000 instead of 10000$")
def another_base():
    return fault(waves(angles()), waves(angles(base=1e5)))


@case("^every position is [+]2 off$")
def waves_moved():
    return fault(waves(angles()), waves(angles(start=-1)))


def rotated(x, a, half=True):
    one, other = (x[..., : D // 2], x[..., D // 2 :]) if half else (x[..., ::2], x[..., 1::2])
    parts = one * np.cos(a) - other * np.sin(a), one * np.sin(a) + other * np.cos(a)
    return np.concatenate(parts, -1) if half else np.stack(parts, -1).reshape(x.shape)


@case("^its input 0 is turned in half-split pairs instead of interleaved ones$")
def rotation_half_split():
    a = angles(0)[:L]
    return fault(rotated(WORDS, a, False), rotated(WORDS, a), WORDS)


@case("^its input 0 is turned the other way$")
def rotation_backwards():
    return fault(rotated(WORDS, angles(0)[:L]), rotated(WORDS, -angles(0)[:L]), WORDS)


@case("^its input 0 is turned by positions that are [+]1 off$")
def rotation_from_one():
    return fault(rotated(WORDS, angles(0)[:L]), rotated(WORDS, angles(1)[:L]), WORDS)


# Losses --------------------------------------------------------------------------------------------------------------

LOGITS, LABELS = normal(B, L, V, seed=18), np.where(IDS % 3 == 0, IDS, -100)


def cross_entropy(logits=LOGITS, labels=LABELS):
    kept = labels != -100
    chosen = np.take_along_axis(logits, np.where(kept, labels, 0)[..., None], -1)[..., 0]
    return np.where(kept, np.log(np.exp(logits).sum(-1)) - chosen, 0.0), kept


EACH, KEPT = cross_entropy()
LOSS = EACH.sum() / KEPT.sum()


def loss_fault(actual, **facts):
    return fault(LOSS, actual, LOGITS, LABELS, **facts)


@case("^the mean is taken over all positions .35. instead of the \\d+ that count$")
def mean_over_all():
    return loss_fault(EACH.sum() / EACH.size)


@case("^the losses are summed")
def loss_summed():
    return loss_fault(EACH.sum())


@case("^it is the mean of the means of the rows that have labels$|^it is the mean of the means of all rows$")
def mean_of_rows():
    return loss_fault(np.mean([e.sum() / max(k.sum(), 1) for e, k in zip(EACH, KEPT, strict=True)]))


@case("^label 0 is ignored too$")
def zero_ignored():
    labels = np.where(IDS % 3 == 0, IDS % 2, -100)
    each, kept = cross_entropy(labels=labels)
    lost = kept & (labels != 0)
    return fault(each.sum() / kept.sum(), each[lost].sum() / lost.sum(), LOGITS, labels)


@case("^label smoothing 0.1$")
def smoothed():
    log_p = LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True))
    return loss_fault(0.9 * LOSS + 0.1 * -log_p.mean(-1)[KEPT].mean())


def of_the_next():
    each, kept = cross_entropy(LOGITS[:, :-1], LABELS[:, 1:])
    return each.sum() / kept.sum()


@case("^labels are not moved: the logits of each position are compared with its own label, not the next$")
def labels_not_moved():
    return fault(of_the_next(), LOSS, LOGITS, LABELS)


@case("^labels are not moved: .*, and the mean is over all 35$")
def labels_not_moved_and_all_counted():
    return fault(of_the_next(), EACH.mean(), LOGITS, LABELS)


@case("^softmax is applied twice$")
def softmax_twice():
    each, kept = cross_entropy(softmax(LOGITS))
    return loss_fault(each.sum() / kept.sum())


@case("^the output loss of discriminator is taken 49 times less than it should be$")
def weight_of_a_loss():
    one, other = np.asarray(2.31), np.asarray(0.173)
    inside = {"m.generator:out.loss": one, "m.discriminator:out.loss": other}
    return Evidence("m", "m:out.loss", one + 50 * other, one + other, inside=inside)


# What is mended in the live port -------------------------------------------------------------------------------------


@case("^temperature is 1.5 instead of 1$")
def setting_of_an_unknown_module():
    repairs = [Repair("temperature is 1.5 instead of 1", IDS)]
    return fault(IDS, IDS[::-1], X, repairs=repairs)
