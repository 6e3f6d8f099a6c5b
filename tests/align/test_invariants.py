"""Which values of two runs must be equal."""

import numpy as np
import pytest

from align import registry
from align.invariants import ALONE, ORDER, PADDING, UNDER_PADDING, Examples
from fake_data.variations import Axes, variable_by_design
from tests.convert.support import tiny

B, C, L, D = 4, 3, 6, 5


def examples(*lead):
    """A batch of ids with 1 to L tokens in its rows; the second of the first example has none."""
    shape = (*lead, L)
    lengths = 1 + np.arange(np.prod(lead)).reshape(lead) % L
    mask = (np.arange(L) < lengths[..., None]).astype(np.int64)
    names = ("batch", "choices", "length") if len(lead) > 1 else ("batch", "length")
    batch = {"input_ids": np.arange(np.prod(shape)).reshape(shape) % 11 + 1, "attention_mask": mask}
    return Examples(batch, {name: Axes(names) for name in batch})


def variation(of, name):
    return next(v for v in of.variations(None) if v.name == name)


def longer(values, of, fill=-1.0):
    """A value for every token as the padded batch gives it."""
    padded = variation(of, PADDING).batch["attention_mask"].shape[-1]
    axis = of.mask.ndim - 1
    widths = [(0, padded - L if a == axis else 0) for a in range(values.ndim)]
    return np.pad(values, widths, constant_values=fill)


def test_of_tokens_only_the_attended_count():
    of = examples(B)
    values = np.random.default_rng(0).normal(size=(B, L, D))
    changed = np.where(of.mask[..., None] == 1, longer(values, of)[:, :L], 7.0)
    matched = of.match(values, longer(changed, of), variation(of, PADDING))
    assert np.array_equal(matched.expected, matched.actual)
    assert len(matched.expected) == of.mask.sum()
    assert [matched.place((i, 2)) for i in range(3)] == [(0, 0), (1, 0), (1, 1)]


def test_choices_may_be_an_axis_or_not():
    of = examples(B, C)
    values = np.random.default_rng(0).normal(size=(B * C, L, D))
    padded = variation(of, PADDING)
    actual = longer(values.reshape(B, C, L, D), of).reshape(B * C, -1, D)
    matched = of.match(values, actual, padded)
    assert np.array_equal(matched.expected, matched.actual)
    assert matched.place((1, 0)) == (0, 1, 0)


def test_a_vector_as_long_as_the_text_is_still_a_vector():
    of = examples(B)
    values = np.arange(B * L, dtype=float).reshape(B, L)
    matched = of.match(values, values, variation(of, PADDING))
    assert matched.expected.shape == (B, L)


def test_pooled_values_are_nobodys():
    of = examples(B)
    assert of.match(np.zeros((B, 2, D)), np.zeros((B, 4, D)), variation(of, PADDING)) is None
    assert of.match(np.zeros((L, L)), np.zeros((L, L)), variation(of, PADDING)) is None


def test_a_misshapen_output_is_given_as_it_is():
    of = examples(B)
    matched = of.match(np.zeros((B, L, D)), np.zeros((B, L + 1, D)), variation(of, PADDING))
    assert matched.actual.shape == (B, L + 1, D)


def test_rows_follow_the_order_of_the_batch():
    of = examples(B, C)
    values = np.arange(B * C * D, dtype=float).reshape(B * C, D)
    reordered = values.reshape(B, C, D)[::-1].reshape(B * C, D)
    matched = of.match(values, reordered, variation(of, ORDER))
    assert np.array_equal(matched.expected, matched.actual)
    assert matched.place((0,)) == (B - 1,)
    alone = of.match(values, values[-C:], variation(of, ALONE))
    assert np.array_equal(alone.expected, alone.actual)


def test_a_number_belongs_to_the_whole_batch():
    of, loss = examples(B), np.array(1.5)
    assert of.match(loss, loss, variation(of, ORDER)) is not None
    assert of.match(loss, loss, variation(of, UNDER_PADDING)) is not None
    assert of.match(loss, loss, variation(of, ALONE)) is None
    by_position = Examples(of.batch, of.axes, by_position=True)
    assert by_position.match(loss, loss, variation(of, PADDING)) is None


def test_examples_without_tokens_are_left_out():
    of = examples(B)
    of.batch["attention_mask"][1] = 0
    assert of.attended() == [0, 2, 3]
    assert of.take([0, 2, 3]).count == 3


@pytest.mark.parametrize("model", registry.names())
def test_what_an_architecture_excuses_is_a_variation(model):
    reasons = variable_by_design(model, tiny(model))
    assert set(reasons) <= {PADDING, UNDER_PADDING, ORDER, ALONE}
    assert all(reasons.values())


def test_a_configuration_may_be_what_excuses_it():
    config = tiny("fast_transformer")
    assert variable_by_design("fast_transformer", config) == {}
    assert set(variable_by_design("fast_transformer", config | {"pool_padding": True})) == {PADDING, UNDER_PADDING}
