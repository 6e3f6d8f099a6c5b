"""What a map is made of: names, links, the file that people edit, and the rules that they read."""

import numpy as np
import pytest

import align
from align.mapping.decide import decide
from align.mapping.links import FUNCTION, Link, Map, Op
from align.mapping.names import alike
from align.mapping.side import Module, Side
from align.mapping.text import read_map, rules, save_map
from align.mapping.weights import MARGIN, propose

SHAPES = {"a.0.weight": (6, 4), "a.1.weight": (6, 4), "a.0.bias": (6,), "a.1.bias": (6,)}


def side(shapes, kind="Linear", transposed=False):
    """Modules of one class that hold these tensors, and ran in this order."""
    owners = {}
    for name in shapes:
        owners.setdefault(name.rpartition(".")[0], []).append(name)
    modules = [Module("<root>", "Net", False, ())] + [
        Module(n, kind, transposed, tuple(own)) for n, own in owners.items()
    ]
    edges = {f"{name}:out": ((2, 6), "f") for name in owners}
    return Side(tuple(modules), shapes, edges, trainable=frozenset(shapes))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (
            ("encoder.layer.0.attention.self.query", "encoder.layers.0.self_attn.q_proj"),
            "encoder.layers.0.self_attn.k_proj",
        ),
        (("wte", "embeddings.word_embeddings"), "embeddings.position_embeddings"),
        (("transformer.h.1.mlp.fc_in", "decoder.blocks.1.ffn.linear_in"), "decoder.blocks.1.ffn.linear_out"),
        (("layer.3.output.LayerNorm.gamma", "layers.3.output.norm.weight"), "layers.3.output.norm.bias"),
    ],
)
def test_words_for_the_same_thing_are_alike(right, wrong):
    assert alike(*right) > alike(right[0], wrong) + MARGIN


@pytest.mark.parametrize(
    "op",
    [
        Op(),
        Op(transposed=True),
        Op(shape=(2, 2, 6)),
        Op(transposed=True, axis=1),
        Op(transposed=True, axis=1, groups=2),
        Op(axis=0, split=3),
        Op(axis=0, split=2, groups=3),
    ],
)
def test_an_op_and_its_way_back(op):
    rng = np.random.default_rng(0)
    count = 3 if op.axis is not None and not op.split else 1
    values = [rng.standard_normal((6, 4) if not op.split else (12, 4)) for _ in range(count)]
    back = op.to_torch(op.to_paddle(values), [value.shape for value in values])
    for value, again in zip(values, back, strict=True):
        np.testing.assert_array_equal(value, again)


def test_parts_that_alternate():
    q, k = np.arange(4.0)[:, None], 10 + np.arange(4.0)[:, None]
    (packed,) = Op(axis=0, groups=2).to_paddle([q, k])
    assert packed.ravel().tolist() == [0, 1, 10, 11, 2, 3, 12, 13]


def test_a_map_is_saved_edited_and_read(tmp_path):
    ours, theirs = side(SHAPES), side({n.replace("a.", "b."): s[::-1] for n, s in SHAPES.items()}, transposed=True)
    links = tuple(
        Link((n,), (n.replace("a.", "b."),), Op(transposed=len(s) == 2), FUNCTION, 0.8, (s,)) for n, s in SHAPES.items()
    )
    assert [str(rule) for rule in rules(links)] == ["Linear(a.{}.weight → b.{}.weight)", "Keep(a.{}.bias → b.{}.bias)"]
    file = tmp_path / "map.toml"
    save_map(file, Map(links))
    again = read_map(file, ours, theirs)
    assert {(x.torch, x.paddle, x.op) for x in again.links} == {(x.torch, x.paddle, x.op) for x in links}


RULE = '[[rule]]\ntorch = ["a.0.weight", "a.1.weight"]\npaddle = "b.0.weight"\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rule", "Expected '='"),
        ("", r"it has no \[\[rule\]\]"),
        ('[[rule]]\ntorch = "a.7.bias"\npaddle = "b.0.bias"', "the torch model has no a.7.bias"),
        ('[[rule]]\ntorch = "a.0.bias"\npaddle = "c"', "the paddle model has no c"),
        ('[[rule]]\ntorch = "a.0.weight"\npaddle = "b.0.weight"', r"b.0.weight has shape \[\(4, 6\)\], the rule makes"),
        ('[[rule]]\ntorch = "a.{}.bias"\npaddle = "b.0.bias"', "b.0.bias is filled twice"),
        ('[[rule]]\ntorch = "a.0.bias"', "rule 1: paddle should be a name or a list of names"),
        ("[[rule]]\ntorch = []\npaddle = [1]", "torch should be a name .*; rule 1: paddle should be a name"),
        ('[[rule]]\ntorch = "a.{}.bias"\npaddle = "b.{}.{}"', r"rule 1: b.{}.{} has more {} than a.{}.bias"),
        (RULE + "axis = 5", r"a.0.weight \+ a.1.weight: there is no axis 5"),
        (RULE + 'axis = 0\ngroups = 0\nshape = ["x"]', "groups should be .* from 1 on; rule 1: shape should be"),
        (RULE + 'axis = "0"\ntransposed = "false"', "transposed should be true or false; rule 1: axis should be"),
        (RULE + "transpose = true", "rule 1: it may not have 'transpose'"),
        ('rule = "a"', "rule 1: it is no table"),
        ('[[rule]]\ntorch = ["a.0.bias", "a.1.bias"]\npaddle = "b.0.bias"', "several tensors need an axis"),
        ('[[rule]]\ntorch = ["a", "b"]\npaddle = ["c", "d"]\naxis = 0', "several tensors on both sides"),
    ],
)
def test_a_map_that_cannot_be_used_is_refused(tmp_path, text, message):
    ours, theirs = side(SHAPES), side({n.replace("a.", "b."): s[::-1] for n, s in SHAPES.items()}, transposed=True)
    (tmp_path / "map.toml").write_text(text)
    with pytest.raises(align.CannotCompareError, match=message):
        read_map(tmp_path / "map.toml", ours, theirs)


def test_layers_that_count_from_one_are_the_same_layers():
    shapes = {f"layers.{n}.fc.weight": (6, 4) for n in range(3)}
    theirs = {f"block{n + 1}.linear.weight": (4, 6) for n in range(3)}
    proposal = propose(side(shapes), side(theirs, transposed=True))
    assert {(a.label, b.label) for a, b, _, _ in proposal.pairs} == {
        (f"layers.{n}.fc", f"block{n + 1}.linear") for n in range(3)
    }
    assert not proposal.questions


def test_what_names_do_not_tell_is_a_question():
    shapes = {"left.weight": (6, 4), "right.weight": (6, 4)}
    proposal = propose(side(shapes), side({"x.weight": (4, 6), "y.weight": (4, 6)}, transposed=True))
    assert [[unit.label for unit in question.torch] for question in proposal.questions] == [["left", "right"]]


def test_a_unit_that_another_replaced_is_alone():
    """By place the first of torch's fits, by function the second."""
    ours, theirs = side({"left.weight": (6, 4), "right.weight": (6, 4)}), side({"x.weight": (4, 6)}, transposed=True)
    found = decide(propose(ours, theirs), ours, theirs, lambda tried: (tried.links[0].torch != ("right.weight",), 0))
    assert [link.torch for link in found.links] == [("right.weight",)]
    assert (found.only_torch, found.only_paddle) == (("left.weight",), ())
