"""The tables: bijective, reversible, strict, and transposing by declared name."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convert
import convert.layouts
from convert import Alias, ConvertError, Drop, Linear, MappingError, Reshape, check_state, convert_state, table
from convert.ops import parse
from convert.rules import Rule, inverse, keep
from tests.convert.support import CASES, MODELS, assert_same, build, heads, shapes, tiny, torch_state

LAYOUTS = {model: convert.layouts.layouts(model) for model in MODELS}
PAIRS = [(model, *pair) for model in MODELS for pair in itertools.product(LAYOUTS[model], repeat=2)]
POOLED = ("SequenceClassification", "MultipleChoice")  # read a pooler in PaddleNLP, which must be asked for
LACKING = {  # layouts that do not have every head of ours: which they have, or which they have not
    ("electra", "transformers"): {name for _, name in heads("electra")} - {"ElectraForJointPreTraining"},
    ("bert", "tf"): {
        *("BertModel", "BertForPreTraining", "BertForMaskedLM", "BertForNextSentencePrediction"),
        *("BertForSequenceClassification", "BertForQuestionAnswering"),
    },
    ("electra", "tf"): {"ElectraModel", "ElectraForPreTraining", "ElectraForMaskedLM", "ElectraForJointPreTraining"},
    ("funnel", "tf"): {"FunnelModel", "FunnelBaseModel"},
    ("roformer", "tf"): {"RoFormerModel", "RoFormerForMaskedLM"},
    ("roformer_v2", "bert4keras"): {"RoFormerV2Model", "RoFormerV2ForMaskedLM"},
    ("gau_alpha", "paddlenlp"): {"GAUAlphaModel", "GAUAlphaForMaskedLM"},  # its other heads have no bias
    ("gau_alpha", "bert4keras"): {"GAUAlphaModel", "GAUAlphaForMaskedLM"},
    ("convbert", "transformers"): {name for _, name in heads("convbert")} - {"ConvBertForJointPreTraining"},
    ("convbert", "tf"): {name for _, name in heads("convbert") if name.endswith(("Model", "PreTraining", "MaskedLM"))},
    ("convbert", "paddlenlp"): {
        name for _, name in heads("convbert") if not name.endswith(("JointPreTraining", *POOLED))
    },
}


def held_by(model, layout, name):
    return name in LACKING.get((model, layout), {name})


def config_of(model, name):
    return {"num_decoder_layers": 2} | tiny(model) | {"architectures": [name]}


@pytest.mark.parametrize(("model", "name"), [(model, name) for model, _, name in CASES])
def test_a_round_trip_through_any_two_layouts_is_exact_to_the_bit(model, name):
    state, config = torch_state(model, name), config_of(model, name)
    reached = {}
    for layout in LAYOUTS[model]:
        if held_by(model, layout, name):
            reached[layout] = convert_state(state, model, "torch", layout, config)
        else:
            with pytest.raises(ConvertError, match=r"unexpected|read a pooler"):
                table(model, "torch", layout, config).plan(shapes(state))
    for source, target in itertools.product(reached, repeat=2):
        assert_same(convert_state(reached[source], model, source, target, config), reached[target])


@pytest.mark.parametrize(("model", "task", "name"), CASES)
def test_our_paddle_models_take_the_converted_state_strictly(model, task, name):
    state = torch_state(model, name)
    plan = table(model, "torch", "paddle").plan(shapes(state))
    live = {key: tuple(value.shape) for key, value in build("paddle", model, name).state_dict().items()}
    check_state(plan.target_shapes, live, name)
    for step in plan.steps:
        turned = state[step.source].T if is_linear(step) else state[step.source]
        assert live[step.target] == turned.shape


def is_linear(step):
    """Whether the step transposes the weight of a Linear, under whichever name."""
    return Linear() in (step.rule.op, getattr(step.rule.op, "op", None))


def linear_owners(model, name):
    """Names of the weights that live Paddle modules hold in a Linear, whatever any table says."""
    import paddle

    layers = build("paddle", model, name).named_sublayers()
    return {f"{path}.weight" for path, layer in layers if isinstance(layer, paddle.nn.Linear)}


@pytest.mark.parametrize(("model", "task", "name"), CASES)
def test_exactly_the_weights_of_linears_are_transposed(model, task, name):
    plan = table(model, "torch", "paddle").plan(shapes(torch_state(model, name)))
    assert {step.target for step in plan.steps if is_linear(step)} == linear_owners(model, name)


@pytest.mark.parametrize(("model", "source", "target"), PAIRS)
def test_each_head_s_rules_are_a_bijection_of_patterns(model, source, target):
    for name in (name for _, name in heads(model) if held_by(model, source, name) and held_by(model, target, name)):
        rules = plain_rules(table(model, source, target, config_of(model, name)), name)
        for side in ("source", "target"):
            patterns = [getattr(rule, side) for rule in rules]
            assert len(patterns) == len(set(patterns))
        assert all(rule.source.count("{}") == rule.target.count("{}") for rule in rules)


def plain_rules(rules, head):
    """The rules that make one tensor of one, as far as they hold for an architecture."""
    found = [rule for rule in rules.rules if not isinstance(rule.op, Alias | Drop) and not rule.legacy]
    return [rule for rule in found if not rule.only or head in rule.only]


@st.composite
def tables_and_shapes(draw):
    """Any table, with tensors of any size under any of its names."""
    model, source, target = draw(st.sampled_from(PAIRS))
    held = [name for _, name in heads(model) if held_by(model, source, name) and held_by(model, target, name)]
    head = draw(st.sampled_from(held))
    rules = table(model, source, target, config_of(model, head))
    plain = plain_rules(rules, head)
    found = {}
    for rule in draw(st.lists(st.sampled_from(plain), min_size=1, max_size=12, unique_by=lambda rule: rule.target)):
        numbers = [draw(st.integers(0, 23)) for _ in range(rule.source.count("{}"))]
        found[rule.source.format(*numbers)] = draw(shapes_for(rule.op))
    ties = [rule.op for rule in rules.rules if isinstance(rule.op, Alias)]
    while missing := {tie.of for tie in ties if tie.beside in found} - set(found):  # which may stand beside the next
        found |= dict.fromkeys(missing, (3, 2))
    return rules, found


@st.composite
def shapes_for(draw, op):
    """Any shape that an op can take."""
    if not isinstance(op, Reshape):
        return tuple(draw(st.integers(0, 5)) for _ in range(draw(st.integers(0, 3))))
    sizes = dict(op.sizes)
    groups = [
        [sizes.get(axis) or sizes.setdefault(axis, draw(st.integers(0, 5))) for axis in g] for g in parse(op.source)
    ]
    return tuple(int(np.prod(group)) for group in groups)


@settings(max_examples=120, deadline=None)
@given(tables_and_shapes(), st.integers(0, 2**32 - 1))
def test_inverse_after_forward_is_the_identity(drawn, seed):
    rules, found = drawn
    plan = rules.plan(found)
    generator = np.random.default_rng(seed)
    state = {name: generator.standard_normal(shape).astype(np.float32) for name, shape in found.items()}
    there = dict(plan.convert(state.__getitem__))
    assert shapes(there) == plan.target_shapes
    assert all(array.flags.c_contiguous for array in there.values())
    back = dict(rules.inverse().plan(plan.target_shapes).convert(there.__getitem__))
    assert_same({name: back[name] for name in state}, state)


def test_a_table_whose_alias_names_an_unknown_tensor_is_not_turned_round():
    for tie in (Alias("table", "biass"), Alias("tabel", "bias")):
        rules = (*keep("table"), *keep("bias"), Rule("decoder", "lm_head", tie), *keep("last"))
        with pytest.raises(KeyError, match="an alias names, is the source of no rule"):
            inverse(rules)


def test_a_square_weight_is_transposed_because_it_is_declared_so():
    query = "encoder.layer.0.attention.self.query.weight"
    state = {query: np.arange(9.0).reshape(3, 3), "embeddings.word_embeddings.weight": np.arange(16.0).reshape(4, 4)}
    there = convert_state(state, "electra", "torch", "paddle")
    assert (there[query] == state[query].T).all()
    assert (there["embeddings.word_embeddings.weight"] == state["embeddings.word_embeddings.weight"]).all()


def test_two_transpositions_cancel_without_a_copy():
    weight = np.arange(6.0).reshape(2, 3)
    there = convert_state({"embeddings_project.weight": weight}, "electra", "paddle", "paddlenlp")
    assert there["embeddings_project.weight"] is weight


def test_layer_numbers_are_carried_over_as_they_are():
    state = {f"encoder.layer.{i}.output.dense.bias": np.full(2, i) for i in (0, 2, 10, 11)}
    there = convert_state(state, "electra", "torch", "paddlenlp")
    assert {name: int(array[0]) for name, array in there.items()} == {
        f"encoder.layers.{i}.linear2.bias": i for i in (0, 2, 10, 11)
    }


def test_all_offenders_are_listed_at_once_with_the_nearest_names():
    found = {
        "electra.encoder.layer.3.attention.self.querry.weight": (4, 6),
        "electra.encoder.layer.3.attention.self.key.weight": (4, 6, 2),
        "optimizer.step": (),
        "electra.embeddings_project.bias": (4,),
    }
    with pytest.raises(MappingError) as caught:
        table("electra", "torch", "paddle").plan(found)
    first, second, third = caught.value.problems
    assert "did you mean 'electra.encoder.layer.3.attention.self.query.weight'?" in first
    assert second == "unexpected: optimizer.step"
    assert third.startswith("wrong shape: electra.encoder.layer.3.attention.self.key.weight has shape (4, 6, 2)")
    assert "3 problems" in str(caught.value)


def test_a_name_from_a_file_cannot_write_to_the_terminal():
    with pytest.raises(MappingError) as caught:
        table("electra", "torch", "paddle").plan({"x\n\x1b[2Jy": (1,)})
    assert caught.value.problems == ("unexpected: x\\n\\x1b[2Jy",)


def test_nothing_to_convert_is_an_error():
    with pytest.raises(MappingError, match="no tensor"):
        table("electra", "torch", "paddle").plan({})


def test_a_target_filled_twice_is_an_error():
    found = {"qa_outputs.weight": (2, 5), "classifier.weight": (3, 5)}
    with pytest.raises(MappingError, match=r"doubly filled: classifier.weight, from .*qa_outputs.weight"):
        table("electra", "torch", "paddlenlp").plan(found)


def test_one_paddlenlp_name_for_two_heads_is_decided_by_the_architecture():
    found = {"classifier.weight": (5, 2)}
    with pytest.raises(MappingError, match=r"ambiguous: classifier.weight .*architectures"):
        table("electra", "paddlenlp", "torch").plan(found)
    for name, ours in (("ElectraForQuestionAnswering", "qa_outputs"), ("ElectraForTokenClassification", "classifier")):
        plan = table("electra", "paddlenlp", "torch", {"architectures": [name]}).plan(found)
        assert plan.target_shapes == {f"{ours}.weight": (2, 5)}


def test_buffers_are_dropped_with_a_reason():
    found = {"electra.embeddings.position_ids": (1, 9), "electra.embeddings_project.bias": (4,)}
    plan = table("electra", "transformers", "torch").plan(found)
    assert plan.target_shapes == {"electra.embeddings_project.bias": (4,)}
    assert "buffer" in plan.dropped["electra.embeddings.position_ids"]
    with pytest.raises(MappingError, match="unexpected"):
        table("electra", "torch", "paddle").plan(found)


TIED = [
    ("electra", "ElectraForMaskedLM", "generator_lm_head.weight"),
    ("funnel", "FunnelForMaskedLM", "lm_head.weight"),
]


@pytest.mark.parametrize(("model", "name", "alias"), TIED)
@pytest.mark.parametrize("layout", ["torch", "paddle", "transformers"])
def test_either_name_of_a_tied_pair_may_be_absent(model, name, alias, layout):
    state = torch_state(model, name)
    of = next(key for key in state if key.endswith("word_embeddings.weight"))
    for absent in (alias, of):
        part = {key: array for key, array in state.items() if key != absent}
        assert_same(convert_state(part, model, "transformers", "torch"), state)
        whole = convert_state(part, model, "torch", layout)
        assert whole[alias].tobytes() == whole[of].tobytes() == state[of].tobytes()
    neither = {key: array for key, array in state.items() if key not in (alias, of)}
    with pytest.raises(MappingError, match=f"missing: {of}"):
        convert_state(neither, model, "torch", "paddle")


@pytest.mark.parametrize(("model", "name", "alias"), TIED)
def test_tied_weights_that_differ_are_refused(model, name, alias):
    state = torch_state(model, name)
    state[alias] = state[alias].copy()
    state[alias][-1, -1] = np.nextafter(state[alias][-1, -1], np.float32(9))
    with pytest.raises(MappingError, match=f"{alias} are one tensor in this model"):
        convert_state(state, model, "torch", "paddle")
    there = convert_state(state, model, "torch", "paddle", {"tie_word_embeddings": False})
    assert_same(convert_state(there, model, "paddle", "torch", {"tie_word_embeddings": False}), state)


def test_tied_weights_of_different_shapes_are_refused_before_reading():
    found = shapes(torch_state("funnel", "FunnelForMaskedLM"))
    found["lm_head.weight"] = found["lm_head.weight"][::-1]
    with pytest.raises(MappingError, match=r"misshapen: funnel\.embeddings\.word_embeddings.weight"):
        table("funnel", "transformers", "torch").plan(found)


def test_a_discriminator_gets_no_decoder():
    found = shapes(torch_state("electra", "ElectraForPreTraining"))
    assert table("electra", "transformers", "torch").plan(found).target_shapes == found


def test_check_state_lists_missing_unexpected_and_misshapen():
    with pytest.raises(MappingError) as caught:
        check_state({"a.weigth": (2,), "b": (3, 4)}, {"a.weight": (2,), "b": (4, 3)}, "here")
    assert str(caught.value).splitlines() == [
        "here: 3 problems",
        "  missing: a.weight (2,)",
        "  unexpected: a.weigth (did you mean 'a.weight'?)",
        "  misshapen: b is (3, 4), the model needs (4, 3)",
    ]
    check_state({"b": (3, 4)}, {"b": [3, 4]}, "a list is a shape too")


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(
        convert.ConvertError, match=r"unknown model 'funel' \(did you mean 'funnel'\?\); known: .*electra, "
    ):
        table("funel", "torch", "paddle")
    with pytest.raises(convert.ConvertError, match=r"unknown layout 'paddel' \(did you mean 'paddle'\?\)"):
        table("funnel", "torch", "paddel")


def test_a_new_architecture_is_a_new_file(tmp_path, monkeypatch):
    (tmp_path / "newcomer.py").write_text(
        "from convert.rules import linear, own_names\n"
        "RULES = linear('block.{}.dense', 'layers.{}.fc')\n"
        "LAYOUTS = {'paddle': own_names(RULES), 'paddlenlp': RULES}\n"
    )
    monkeypatch.setattr(convert.layouts, "__path__", [*convert.layouts.__path__, str(tmp_path)])
    assert "newcomer" in convert.names()
    plan = table("newcomer", "torch", "paddlenlp").plan({"block.7.dense.weight": (2, 3)})
    assert plan.target_shapes == {"layers.7.fc.weight": (3, 2)}
    with pytest.raises(convert.ConvertError, match="newcomer has no transformers layout"):
        table("newcomer", "torch", "transformers")
