"""Faults made by hand: what a module is given, what it should compute, and what it computes instead."""

import numpy as np
from scipy.special import erf, expit

from align.explain.evidence import Evidence

B, L, D, H, V = 5, 7, 24, 4, 31
MIN = float(np.finfo(np.float64).min)
CASES = []  # (name, function that makes the evidence, pattern of its explanation)


def case(pattern):
    def register(make):
        CASES.append((make.__name__, make, pattern))
        return make

    return register


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def fault(expected, actual, *given, edge="m:out", **facts):
    """A fault of the module m with inputs `given`."""
    inputs = {f"m:in{i}": value for i, value in enumerate(given)}
    return Evidence("m", edge, np.asarray(expected), np.asarray(actual), inputs=inputs, **facts)


# Norms ---------------------------------------------------------------------------------------------------------------

X = normal(B, L, D) * np.linspace(0.01, 1, L)[:, None]
GAMMA, BETA = 1 + 0.1 * normal(D, seed=1), 0.1 * normal(D, seed=2)


def norm(eps=1e-12, outside=0.0, ddof=0, centred=True, gamma=GAMMA, beta=BETA, axis=-1):
    mean = X.mean(axis, keepdims=True) if centred else 0.0
    variance = ((X - mean) ** 2).sum(axis, keepdims=True) / (X.shape[axis] - ddof)
    return (X - mean) / (np.sqrt(variance + eps) + outside) * gamma + beta


def norm_fault(eps=1e-12, **options):
    return fault(norm(), norm(eps, **options), X, parameters={"weight": GAMMA, "bias": BETA}, facts={"eps": 1e-12})


@case("^eps 1e-05 instead of 1e-12$")
def eps_of_the_default():
    return norm_fault(1e-5)


@case("^eps 3.7e-07 instead of 1e-12$")
def eps_of_any_value():
    return norm_fault(3.7e-7)


@case("^eps 1e-05 is added outside the root$")
def eps_outside_the_root():
    return norm_fault(0.0, outside=1e-5)


@case("over n − 1 = 23")
def unbiased_variance():
    return norm_fault(ddof=1)


@case("the mean is not removed")
def root_mean_square():
    return norm_fault(centred=False)


@case("γ .* is not applied$")
def no_gamma():
    return norm_fault(gamma=1.0)


@case("^β .* is not added$")
def no_beta():
    return norm_fault(beta=0.0)


@case("1 \\+ γ")
def gamma_about_one():
    return norm_fault(gamma=1 + GAMMA)


@case("^not normalised: it returns its input$")
def no_norm():
    return fault(norm(), X, X, parameters={"weight": GAMMA, "bias": BETA}, facts={"eps": 1e-12})


@case("^normalised over axis 1 instead of 2$")
def norm_over_positions():
    return norm_fault(axis=1)


@case("^the variance is 1.21 times as large$")
def norm_of_a_larger_variance():
    return norm_fault(ddof=D - D / 1.21)


# Activations ---------------------------------------------------------------------------------------------------------


def gelu(x):
    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def activation_fault(function, right=gelu):
    return fault(right(X), function(X), X)


@case("^GELU .tanh. instead of GELU .erf.$")
def gelu_by_tanh():
    return activation_fault(lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))))


@case("^quick GELU.* instead of GELU")
def quick_gelu():
    return activation_fault(lambda x: x * expit(1.702 * x))


@case("^x·σ.1.7·x. instead of GELU")
def nearly_quick_gelu():
    return activation_fault(lambda x: x * expit(1.7 * x))


@case("^SiLU instead of GELU")
def silu():
    return activation_fault(lambda x: x * expit(x))


@case("^leaky ReLU with slope 0.03 instead of ReLU$")
def leaky_relu():
    return activation_fault(lambda x: np.where(x > 0, x, 0.03 * x), lambda x: np.maximum(x, 0.0))


@case("^no activation instead of tanh$")
def not_activated():
    return activation_fault(lambda x: x, np.tanh)


@case("activation of 1.3 times its input instead of tanh")
def activation_of_a_scaled_input():
    return activation_fault(lambda x: np.tanh(1.3 * x), np.tanh)


@case("^ReLU instead of SiLU of the output of gate$")
def activation_in_a_composites_code():
    x = normal(B, L, D, seed=3)
    inside = {"m.gate:in0": X, "m.gate:out": x}
    return Evidence("m", "m.down:in0", x * expit(x), np.maximum(x, 0.0), inputs={"m:in0": X}, inside=inside)


# Linears and tables --------------------------------------------------------------------------------------------------

W, BIAS = normal(D, D, seed=4), normal(D, seed=5)


def linear_fault(actual):
    return fault(X @ W.T + BIAS, actual, X, parameters={"weight": W, "bias": BIAS})


@case("^the bias is not added$")
def no_bias():
    return linear_fault(X @ W.T)


@case("^the bias is added twice$")
def bias_twice():
    return linear_fault(X @ W.T + 2 * BIAS)


@case("^weight is used transposed$")
def weight_transposed():
    return linear_fault(X @ W + BIAS)


@case("^weight is rounded to float16")
def weight_in_float16():
    return linear_fault(X @ W.astype(np.float16).astype(np.float64).T + BIAS)


@case("^weight and what it multiplies are .*TF32")
def product_in_tf32():
    def cut(x):
        return (x.astype(np.float32).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)

    return linear_fault(cut(X) @ cut(W).T + BIAS)


@case("^the product with weight is taken 0.2041 = 1/√24 times$")
def product_scaled():
    return linear_fault(X @ W.T / np.sqrt(D) + BIAS)


@case("^the bias is taken 0.37 times$")
def bias_scaled():
    return linear_fault(X @ W.T + 0.37 * BIAS)


TABLE, IDS = normal(V, D, seed=6), np.random.default_rng(6).integers(0, V, (B, L))


def table_fault(actual):
    return fault(TABLE[IDS], actual, IDS, parameters={"weight": TABLE})


@case("^the row of id \\d+ is zero in the forward pass")
def row_zeroed():
    return table_fault(TABLE[IDS] * (IDS[0, 0] != IDS)[..., None])


@case("^every id is taken [+]1 off$")
def next_row():
    return fault(TABLE[IDS % 30], TABLE[IDS % 30 + 1], IDS % 30, parameters={"weight": TABLE})


@case("^it is scaled by 4.899 = √24$")
def table_times_root():
    return table_fault(TABLE[IDS] * np.sqrt(D))


# Ids, positions, masks -----------------------------------------------------------------------------------------------

POSITIONS = np.arange(L)
TOKENS = (np.arange(L) < np.array([7, 4, 6, 0, 5])[:, None]).astype(np.int64)


@case("^positions are counted from 1 instead of 0$")
def positions_from_one():
    return fault(POSITIONS, POSITIONS + 1, edge="m.table:in0")


@case("^positions count the tokens of its input 0 that are not 0, the first is 1")
def positions_of_tokens():
    ids = IDS * TOKENS
    counted = (ids != 0).cumsum(1) * (ids != 0)
    return fault(np.broadcast_to(POSITIONS, (B, L)), counted, ids, edge="m.table:in0")


@case("^it is 0 everywhere$")
def types_ignored():
    return fault(IDS % 3, IDS * 0, edge="m.table:in0")


@case("^every 2 has become 0$")
def one_type_lost():
    types = IDS % 3
    return fault(types, np.where(types == 2, 0, types), edge="m.table:in0")


@case("^its input 1 is passed on as it is$")
def labels_of_the_other_input():
    labels = np.where(TOKENS == 1, IDS, -100)
    return fault(labels, IDS, X, IDS, edge="m.loss:in1")


@case("^it is its input 0 where its input 1 = -100, and its input 2 elsewhere$")
def branches_exchanged():
    labels, drawn = np.where(IDS % 4 == 0, IDS, -100), (IDS * 3 + 1) % V
    expected = np.where(labels != -100, IDS, drawn)
    return fault(expected, np.where(labels == -100, IDS, drawn), IDS, labels, drawn, edge="m.next:in0")


@case("^it is true where its input 0 is the same at both positions$")
def segments_without_cls():
    types = IDS % 3
    same = types[:, :, None] == types[:, None, :]
    return fault(same | (types == 2)[:, :, None], same, types, edge="m:out")


@case("^the mask is inverted: it masks all that it should not$")
def mask_inverted():
    return fault((1.0 - TOKENS) * MIN, TOKENS * MIN, edge="m.encoder:in1")


@case("^-10 stands where it masks, instead of -1.798e[+]308$")
def mask_of_10():
    return fault((1.0 - TOKENS) * MIN, (1.0 - TOKENS) * -10.0, edge="m.encoder:in1")


@case("^the number is 2 instead of 4$")
def another_number():
    return fault(np.asarray(4), np.asarray(2), edge="m.pool:arg0", literal=True)
