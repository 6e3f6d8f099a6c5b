"""torch's attentions: one kernel where nothing drops out and nobody looks on, and the same values step by step."""

import importlib

import numpy as np
import pytest
import torch
from torch import nn

from align.case import make_batch, resolve
from convert.live import config_class

MODELS = ("bert", "convbert", "electra", "roformer", "roformer_v2")


@pytest.fixture(params=MODELS)
def run(request):
    """The tiny backbone in float64, and what it returns for a padded batch."""
    case = resolve(request.param, "backbone")
    file = importlib.import_module(f"models_torch.{request.param}")
    config = config_class(file).from_dict(dict(case.raw_config))
    torch.manual_seed(0)
    model = getattr(file, file.TASKS["backbone"])(config).double().eval()
    batch = {name: torch.from_numpy(value) for name, value in make_batch(case, vars(config)).items()}
    return model, lambda: model(**batch)["last_hidden_state"]


def steps(model, name):
    return [module for path, module in model.named_modules() if path.endswith(f".{name}")]


def kernels(function):
    """How often the one kernel runs, and what `function` returns."""
    with torch.no_grad(), torch.profiler.profile() as profile:
        value = function()
    return sum(e.count for e in profile.key_averages() if e.key == "aten::scaled_dot_product_attention"), value


def test_both_ways_compute_the_same(run):
    model, forward = run
    softmaxes, seen = steps(model, "softmax"), []
    count, fused = kernels(forward)
    assert count == len(softmaxes) > 0
    for softmax in softmaxes:
        softmax.register_forward_hook(lambda _, __, probabilities: seen.append(probabilities))
    none, stepwise = kernels(forward)
    assert (none, len(seen)) == (0, count)
    assert all(torch.allclose(p.sum(-1), torch.ones(()).double()) for p in seen)
    np.testing.assert_allclose(fused, stepwise, rtol=0, atol=1e-12 * float(fused.abs().max()))


def test_what_is_put_in_the_place_of_a_step_runs(run):
    model, forward = run
    _, clean = kernels(forward)
    for name in ("softmax", "dropout", "attention_dropout"):
        for path, module in list(model.named_modules()):
            if path.endswith(f".{name}") and hasattr(model.get_submodule(path.rpartition(".")[0]), "softmax"):
                module.forward = lambda x, *_: torch.zeros_like(x)  # no probability for anything
                assert not torch.equal(forward(), clean)
                del module.forward


def test_dropout_at_work_is_stepwise(run):
    model, forward = run
    count, _ = kernels(model.train() and forward)
    assert count == 0
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    assert kernels(forward)[0] > 0
