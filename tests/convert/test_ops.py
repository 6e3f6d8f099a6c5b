"""Ops: what a reshape of axes does, that it can be undone and joined, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convert.ops import Alias, Drop, GroupedLinear, Keep, Linear, Reshape, parse, spelled, then

HEADS = {"n_head": 3, "d_head": 4, "d_model": 5}
QUERY = Reshape("(n_head d_head) d_model", "d_model n_head d_head").sized(HEADS)


def test_a_projection_to_heads_is_split_as_tensorflow_has_it():
    weight = np.arange(60).reshape(12, 5)
    kernel = QUERY.view(weight)
    assert QUERY.shape((12, 5)) == kernel.shape == (5, 3, 4)
    assert QUERY.matrix((12, 5)) == (12, 5)
    for head in range(3):
        assert (kernel[:, head] == weight[4 * head : 4 * head + 4].T).all()
    back = QUERY.inverse()
    assert (back.view(kernel) == weight).all()
    assert back.matrix((5, 3, 4)) == (5, 12)


def test_a_convolution_loses_its_axis_of_one():
    depthwise = Reshape("channels 1 width", "width channels 1")  # ConvBERT: torch (D, 1, k), TensorFlow (k, D, 1)
    assert depthwise.shape((6, 1, 9)) == (9, 6, 1)
    assert depthwise.matrix((6, 1, 9)) == (6, 9)
    squeezed = Reshape("1 channels", "channels")
    assert squeezed.shape((1, 7)) == (7,)
    assert squeezed.matrix((1, 7)) is None
    assert squeezed.inverse().shape((7,)) == (1, 7)


def test_a_matrix_in_groups_is_kept_and_a_whole_one_transposed():
    op, whole, groups = GroupedLinear(), np.arange(6).reshape(2, 3), np.arange(24).reshape(2, 3, 4)
    assert op.shape((2, 3)) == (3, 2)
    assert (op.view(whole) == whole.T).all()
    assert op.matrix((2, 3)) == (2, 3)
    assert op.shape((2, 3, 4)) == (2, 3, 4)
    assert (op.view(groups) == groups).all()
    assert op.matrix((2, 3, 4)) is None
    assert op.inverse() == then(op, Keep()) == then(Keep(), op) == op
    assert then(op, op) == then(Linear(), op) == Keep()


def test_what_is_left_out_is_left_out_however_it_was_turned():
    assert then(Linear(), Drop("unread")) == then(Keep(), Drop("unread")) == Drop("unread")


def test_one_size_is_enough_to_split():
    assert Reshape("(n_head d_head)", "n_head d_head").sized({"n_head": 3}).shape((12,)) == (3, 4)


@pytest.mark.parametrize(
    ("op", "shape", "told"),
    [
        (QUERY, (12,), r"it should have 2 dimensions: \(n_head d_head\) d_model"),
        (QUERY, (13, 5), "with n_head 3, d_head 4"),
        (QUERY, (12, 6), "with d_model 5"),
        (QUERY.inverse(), (5, 4, 3), "with n_head 3"),
        (Reshape("(n_head d_head)", "n_head d_head"), (12,), "says neither of n_head, d_head"),
        (Reshape("(n_head d_head)", "n_head d_head").sized({"n_head": 5}), (12,), "with n_head 5"),
        (Reshape("1 a", "a"), (2, 7), "an axis of 1"),
        (Linear(), (2, 7, 1), "it should have 2 dimensions: out in"),
    ],
)
def test_a_tensor_of_other_axes_is_refused(op, shape, told):
    with pytest.raises(ValueError, match=told):
        op.shape(shape)


@pytest.mark.parametrize(("source", "target"), [("a b c", "b a c"), ("a b", "a"), ("a", "a b"), ("a a", "a a")])
def test_what_is_no_reshaped_transposition_cannot_be_declared(source, target):
    with pytest.raises(ValueError, match="no reshaped transposition"):
        Reshape(source, target)


def test_ops_are_joined_into_one():
    paddle_to_tf = then(Linear(), QUERY)
    assert paddle_to_tf.matrix((5, 12)) is None
    assert paddle_to_tf.shape((5, 12)) == (5, 3, 4)
    tf_to_paddle = then(QUERY.inverse(), Linear())
    assert tf_to_paddle.matrix((5, 3, 4)) is None
    assert tf_to_paddle.shape((5, 3, 4)) == (5, 12)
    assert then(QUERY, QUERY.inverse()) == then(QUERY.inverse(), QUERY) == then(Linear(), Linear()) == Keep()
    assert then(Keep(), QUERY) == then(QUERY, Keep()) == QUERY
    assert then(Alias("a", "b"), Keep()) == then(Keep(), Alias("a", "b")) == Alias("a", "b")
    assert then(Drop("why"), Keep()) == Drop("why")
    assert then(Reshape("1 a", "a"), Reshape("b", "b 1")) == Reshape("1 b", "b 1")
    assert then(Reshape("1 out in", "out in"), Linear()) == Reshape("1 out in", "in out")
    with pytest.raises(ValueError, match="are not the same axes"):
        then(Linear(), Reshape("a", "a 1"))


def test_axes_are_read_and_spelled():
    for text in ("a", "(a b) c", "1 (a b c) d 1", ""):
        assert spelled(parse(text)) == text


@st.composite
def reshapes(draw, axes="abcd"):
    """Any reshape of up to four axes, all of whose sizes are known."""
    names = axes[: draw(st.integers(1, 4))]
    cut = draw(st.integers(0, len(names) - 1))
    source, target = (draw(grouped(order)) for order in (names, names[cut:] + names[:cut]))
    return Reshape(source, target, tuple((name, draw(st.integers(0, 4))) for name in names))


@st.composite
def grouped(draw, names):
    """Axes in this order, some of them stored as one, with axes of 1 between."""
    groups, text = [[]], []
    for name in names:
        if draw(st.booleans()):
            groups.append([])
        groups[-1].append(name)
    for group in groups:
        text += ["1"] * draw(st.integers(0, 1))
        text += [group[0] if len(group) == 1 else f"({' '.join(group)})"] if group else []
    return " ".join(text)


@settings(max_examples=100, deadline=None)
@given(reshapes())
def test_any_reshape_does_what_its_axes_say_and_can_be_undone(op):
    sizes = dict(op.sizes)
    shape = tuple(int(np.prod([sizes[axis] for axis in group])) for group in parse(op.source))
    array = np.arange(int(np.prod(shape))).reshape(shape)
    before, after = ([axis for group in parse(side) for axis in group] for side in (op.source, op.target))
    expected = array.reshape([sizes[axis] for axis in before]).transpose([before.index(axis) for axis in after])
    there = op.view(array)
    assert there.shape == op.shape(shape)
    assert (there.reshape(expected.shape) == expected).all()
    matrix = op.matrix(shape)
    streamed = array.reshape(-1) if matrix is None else array.reshape(matrix).T.reshape(-1)
    assert (streamed == there.reshape(-1)).all()
    assert (op.inverse().view(there) == array).all()
    assert then(op, op.inverse()) == Keep() or not parse(op.source)
