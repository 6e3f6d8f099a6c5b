"""Checkpoints of Fast Transformer and Fastformer: tied projections, the ports' files, both sides from one folder."""

import numpy as np
import pytest

from convert import MappingError, convert_state, load, open_checkpoint, table
from convert.__main__ import main
from tests.convert.support import CASES, assert_same, build, read_all, shapes, tiny, torch_state, write_folder
from tests.references.electra_names import gap, run

FAST = [(model, name) for model, _, name in CASES if model == "fast_transformer"]
OURS = [(model, name) for model, _, name in CASES if model.startswith("fast")]


@pytest.mark.parametrize(("model", "name"), FAST)
def test_a_file_may_hold_the_shared_projections_once(model, name):
    state = torch_state(model, name)
    tied = {key for key in state if "attn_logits" in key and "layers.0." not in key}
    assert len(tied) == 4
    for config in (None, tiny(model)):
        once = {key: value for key, value in state.items() if key not in tied}
        there = convert_state(once, model, "torch", "paddle", config)
        assert set(there) == set(state)
        for key in tied:
            assert np.array_equal(there[key], state[key].T)
        assert_same(convert_state(there, model, "paddle", "torch", config), state)


def test_shared_projections_that_differ_are_refused():
    state = torch_state("fast_transformer", "FastTransformerModel")
    state["layers.2.0.fn.to_k_attn_logits.weight"] = state["layers.2.0.fn.to_k_attn_logits.weight"] + 1
    with pytest.raises(MappingError, match=r"layers\.2\.0\.fn\.to_k_attn_logits\.weight are one tensor in this model"):
        convert_state(state, "fast_transformer", "torch", "paddle")


def test_lucidrains_files_hold_rotary_frequencies_too():
    state = torch_state("fast_transformer", "FastTransformerForMaskedLM")
    names = [f"layers.{layer}.0.fn.pos_emb.freqs" for layer in range(3)]
    theirs = state | dict.fromkeys(names, np.ones(5, np.float32))
    plan = table("fast_transformer", "transformers", "paddle", tiny("fast_transformer")).plan(shapes(theirs))
    assert sorted(plan.dropped) == names
    assert set(plan.target_shapes) == set(state)
    with pytest.raises(MappingError, match=r"unexpected: .*freqs"):
        table("fast_transformer", "paddle", "torch", tiny("fast_transformer")).plan(shapes(theirs))


@pytest.mark.parametrize(("model", "name"), OURS)
def test_a_folder_goes_to_paddle_and_back_and_both_sides_compute_the_same(tmp_path, model, name):
    config = tiny(model) | {"architectures": [name], "model_type": model}
    write_folder(tmp_path / "torch", state := torch_state(model, name), config)
    for source, target, layout in (("torch", "paddle", "paddle"), ("paddle", "back", "transformers")):
        assert main(["--model", model, str(tmp_path / source), str(tmp_path / target), "--to", layout]) == 0
    assert_same(read_all(open_checkpoint(tmp_path / "back")), state)
    classes = [type(build(side, model, name)) for side in ("torch", "paddle")]
    models = [load(each, tmp_path / side) for each, side in zip(classes, ("torch", "paddle"), strict=True)]
    ids = np.random.default_rng(0).integers(0, 190, (3, 11))
    expected, actual = (run(each.eval() or each, {"input_ids": ids}) for each in models)
    assert all(gap(actual[key], expected[key]) <= 2e-5 for key in expected)
