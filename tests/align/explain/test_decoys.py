"""What only looks like a known cause is not explained by it: no explanation is better than a wrong one."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align.explain import explain
from align.explain.evidence import Evidence, Repair
from tests.align.explain import cases_modules as m
from tests.align.explain import cases_values as v


def text(evidence):
    found = explain(evidence)
    return None if found is None else found.text


def disturbed(evidence, share=1e-3):
    """The same fault with another one on top that no formula has."""
    noise = np.random.default_rng(12345).standard_normal(evidence.actual.shape)
    scale = share * float(np.abs(np.where(np.abs(evidence.actual) < 1e3, evidence.actual, 0)).max())
    return dataclasses.replace(evidence, actual=evidence.actual + scale * noise)


def is_plain(evidence):
    """Floats in one shape, not all of them masks."""
    expected, actual = evidence.expected, evidence.actual
    return (
        actual.dtype.kind == "f"
        and expected.shape == actual.shape != ()
        and float(np.abs(actual[np.abs(actual) < 1e3]).max(initial=0.0)) > 0
    )


FLOATS = [make for _, make, _ in m.CASES if is_plain(make())]


@pytest.mark.parametrize("make", FLOATS, ids=lambda make: make.__name__)
def test_a_cause_with_another_on_top_is_unexplained(make):
    assert text(disturbed(make())) is None


@pytest.mark.parametrize("make", FLOATS, ids=lambda make: make.__name__)
def test_noise_is_unexplained(make):
    evidence = make()
    assert text(disturbed(dataclasses.replace(evidence, actual=evidence.expected))) is None


def test_two_known_causes_at_once_are_not_one():
    assert text(m.norm_fault(1e-5, gamma=1.1 * m.GAMMA)) is None
    assert text(m.linear_fault(1.1 * m.X @ m.W.T + 0.9 * m.BIAS)) is None
    assert text(v.score_fault(v.scores(1.0, mask=-v.MASK))) is None


def test_a_number_near_a_known_one_is_not_that():
    assert "√24" not in text(v.score_fault(v.scores((m.D**-0.5) * (1 + 1e-6))))
    assert "√" not in text(m.table_fault(m.TABLE[m.IDS] * np.sqrt(m.D + 1e-5)))
    assert "quick" not in text(m.activation_fault(lambda x: x / (1 + np.exp(-1.7021 * x))))
    assert "1e-05" not in text(m.norm_fault(1.02e-5))
    assert text(m.norm_fault(1.02e-5)) == "eps 1.02e-05 instead of 1e-12"


def test_eps_inside_and_outside_the_root_are_told_apart():
    assert "outside" not in text(m.norm_fault(1e-9))
    assert "outside" in text(m.norm_fault(0.0, outside=1e-9))


def test_zeros_of_a_mask_are_no_dropout():
    assert text(v.multiplied_by_the_mask()) == "it is multiplied by its input 0"
    kept = np.random.default_rng(1).random(v.WORDS.shape) > 0.1
    varying = v.WORDS * kept * np.linspace(1, 1.2, m.D)
    assert text(m.fault(v.WORDS, varying, v.WORDS, facts={"p": 0.1})) is None


def test_a_fitted_number_needs_more_than_a_few_elements():
    one = m.X.copy()
    one[0, 0, 0] *= 1.37
    assert text(m.fault(m.X, one)) is None


def test_a_single_number_is_explained_by_numbers_with_names_only():
    assert text(v.loss_fault(v.LOSS * 1.2345678)) is None
    assert text(v.loss_fault(v.LOSS + 0.0123)) is None
    assert text(v.loss_fault(v.LOSS / 2)) is not None


def test_ids_at_random_are_unexplained():
    rng = np.random.default_rng(5)
    other = rng.integers(0, m.V, m.IDS.shape)
    assert text(m.fault(m.IDS, other, m.IDS * 2 % m.V, edge="m.table:in0")) is None
    few = m.IDS.copy()
    few[2, 3] = (few[2, 3] + 5) % m.V
    types = m.IDS % 2
    assert text(m.fault(m.IDS, few, types, edge="m.table:in0")) is None


def test_of_scores_with_an_unknown_mask_nothing_is_said_of_the_known_one():
    tiled = np.tile(v.MASK, (v.H, 1, 1, 1)).reshape(v.B, v.H, 1, v.L)
    right = dataclasses.replace(v.score_fault(v.scores()), expected=v.scores(mask=tiled))
    assert "twice" not in (text(right) or "")


def test_a_mask_is_no_activation_of_itself():
    assert "instead of" not in text(m.fault(v.MASK, v.MASK * 0, v.MASK, edge="m.layer:in1"))


def test_a_repair_that_does_not_restore_parity_is_none():
    noise = np.random.default_rng(9).standard_normal(m.X.shape)
    evidence = m.fault(m.X, m.X + noise, repairs=[Repair("eps is 1 instead of 2", m.X + 0.999 * noise)])
    assert text(evidence) is None


def test_what_these_values_do_not_show_is_unexplained():
    assert text(m.fault(m.X, m.X)) is None
    assert text(m.fault(m.X, m.X * (1 + 1e-15), limit=1e-10)) is None


def test_near_rounding_the_rest_must_pass_and_be_far_below():
    eps = m.norm_fault(3e-12)
    difference = float(np.abs(eps.actual - eps.expected).max())
    rough = dataclasses.replace(eps, actual=eps.actual + 1e-5 * difference, limit=1e-4 * difference)
    assert text(rough) == "eps 3e-12 instead of 1e-12"
    assert text(dataclasses.replace(rough, limit=1e-6 * difference)) is None


def test_large_tensors_are_searched_in_part_and_proved_in_whole(monkeypatch):
    monkeypatch.setattr("align.explain._LARGEST", 2 * m.X[0].size)
    assert text(m.silu()) == "SiLU instead of GELU (erf)"
    assert text(v.no_scale()).startswith("q·k is scaled by 1 ")
    wrong = m.silu().actual.copy()
    wrong[-1] += 0.1 * m.normal(*m.X[0].shape, seed=21) * np.abs(wrong[0]).max()
    assert text(m.fault(m.gelu(m.X), wrong, m.X)) is None


ARRAYS = st.tuples(
    st.lists(st.integers(0, 4), max_size=4).map(tuple), st.sampled_from(["f8", "f4", "i8", "?"]), st.integers(0, 99)
)


def array(shape, kind, seed):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape) * rng.choice([1e-3, 1.0, 1e4])
    if kind[0] == "f" and seed % 5 == 0:
        values = np.where(values > 0.5, [np.inf, np.nan, -1.7e308][seed % 3], values)
    return np.asarray(values if kind[0] == "f" else values * 3).astype(kind)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(ARRAYS, ARRAYS, st.lists(ARRAYS, max_size=4), st.lists(ARRAYS, max_size=2), st.booleans())
def test_nothing_makes_it_raise(expected, actual, inputs, parameters, same_shape):
    if same_shape:
        actual = (expected[0], expected[1], actual[2])
    with np.errstate(all="ignore"):
        made = [array(*a) for a in inputs]
        weights = {f"w{i}": array(*p).astype(np.float64) for i, p in enumerate(parameters)}
        evidence = Evidence(
            "m",
            "m:out",
            array(*expected),
            array(*actual),
            inputs={f"m:in{i}": a for i, a in enumerate(made[:2])},
            inside={f"m.c{i}:out": a for i, a in enumerate(made[2:])},
            parameters=weights,
            facts={"eps": 1e-5, "p": 0.1},
        )
    explain(evidence)
