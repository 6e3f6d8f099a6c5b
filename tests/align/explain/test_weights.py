"""What is said of a parameter that is not the reference's."""

import re

import numpy as np
import pytest

from align.explain.weights import describe

RNG = np.random.default_rng(0)
NETWORK = {
    "a.query.weight": RNG.standard_normal((6, 6)).astype(np.float32),
    "a.key.weight": RNG.standard_normal((6, 6)).astype(np.float32),
    "a.dense.weight": RNG.standard_normal((8, 6)).astype(np.float32),
    "a.dense.bias": RNG.standard_normal(8).astype(np.float32),
    "a.norm.weight": np.ones(8, np.float32),
    "a.norm.bias": RNG.standard_normal(8).astype(np.float16).astype(np.float32),
    "a.out.weight": RNG.standard_normal((6, 8)).astype(np.float32),
}
QUERY, KEY, DENSE, BIAS = (
    NETWORK[f"a.{name}"] for name in ("query.weight", "key.weight", "dense.weight", "dense.bias")
)


def bits(array):
    return (array.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def altered(array, index, value):
    array = array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("name", "own", "pattern"),
    [
        ("query.weight", QUERY.T, "^weight is transposed$"),
        ("query.weight", KEY, "^weight is another's: the reference's a.key.weight$"),
        ("dense.weight", NETWORK["a.out.weight"].T, "a.out.weight, transposed$"),
        ("dense.weight", DENSE * 0, "^weight is 0 everywhere, as if it had not been loaded$"),
        ("dense.weight", np.ones_like(DENSE), "^weight is 1 everywhere"),
        ("dense.bias", BIAS * 0 + BIAS[0], "^bias has its first value everywhere, as if it had been broadcast$"),
        ("dense.weight", DENSE.astype(np.float16), "^weight is rounded to float16"),
        ("dense.weight", bits(DENSE), "^weight is cut off to bfloat16$"),
        ("dense.weight", altered(DENSE, (2, 3), np.float16(DENSE[2, 3])), r"float16.* at 1 of 48 elements, \(2, 3\)$"),
        ("dense.weight", altered(DENSE, (2, 3), 7), r"^weight differs at 1 of 48 elements, \(2, 3\)$"),
        ("dense.weight", np.roll(DENSE, 2, 0), "moved by [+]2 along axis 0, around the end$"),
        ("dense.weight", DENSE[:, ::-1], "reversed along axis 1$"),
        ("dense.weight", DENSE.T.reshape(8, 6), "split as 8 × 6 and transposed$"),
        ("dense.weight", altered(DENSE, 4, DENSE[5]), r"along axis 0 \(rows\) index 5 stands at 4$"),
        (
            "query.weight",
            np.concatenate([QUERY[:3], KEY[:3]]),
            "rows of several.*3 of a.query.weight, 3 of a.key.weight$",
        ),
        ("norm.weight", BIAS, "^weight is not 1 everywhere, as the reference's is"),
        (
            "norm.bias",
            NETWORK["a.norm.bias"] * np.float32(1.0001),
            "^bias is not rounded to float16.*, as the reference's is$",
        ),
        ("query.weight", QUERY / 2, "^weight is 0.5 times as large$"),
        ("query.weight", QUERY + 0.01 * KEY, "^weight differs at all of its 36 elements"),
        ("dense.weight", 0.02 * RNG.standard_normal((8, 6)), "has nothing of the reference's, as if it had not been"),
    ],
)
def test_the_difference_is_named(name, own, pattern):
    found = describe(f"a.{name}", own.astype(np.float32), NETWORK)
    assert re.search(pattern, found), found
