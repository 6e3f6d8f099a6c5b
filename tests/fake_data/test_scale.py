"""The promises about scale, measured in the torch models: attention that chooses, activations that last, saturation."""

import dataclasses
import importlib

import numpy as np
import pytest

import fake_data
from align import registry
from convert.live import config_class

torch = pytest.importorskip("torch")

MODELS = {name: importlib.import_module(f"models_torch.{name}") for name in registry.names()}
CONFIGS = {name: config_class(module) for name, module in MODELS.items()}
TASKS = [(model, task) for model, module in MODELS.items() for task in module.TASKS]
WITH_LOGITS = [(model, task) for model, task in TASKS if task not in ("backbone", "encoder")]
WIDE = {
    "bert": {"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 2},
    "convbert": {"embedding_size": 768, "hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 2},
    "electra": {"embedding_size": 768, "hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 2},
    "fast_transformer": {"dim": 768, "heads": 12, "dim_head": 64, "depth": 2},
    "fastformer": {"hidden_size": 768, "num_attention_heads": 48, "num_hidden_layers": 2},
    "funnel": {"d_model": 768, "n_head": 12, "d_head": 64, "block_sizes": (1, 1), "block_repeats": (1, 1)},
    "roformer": {"embedding_size": 768, "hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 2},
    "roformer_v2": {"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 2},
    "gau_alpha": {"hidden_size": 768, "intermediate_size": 1536, "attention_key_size": 128},
}
DEEP = {
    "bert": {"num_hidden_layers": 24},
    "convbert": {"num_hidden_layers": 24},
    "electra": {"num_hidden_layers": 24},
    "fast_transformer": {"depth": 24},
    "fastformer": {"num_hidden_layers": 24},
    "funnel": {"block_sizes": (10, 10, 10), "block_repeats": (1, 1, 1)},
    "roformer": {"num_hidden_layers": 24},
    "roformer_v2": {"num_hidden_layers": 24},
    "gau_alpha": {"num_hidden_layers": 24},
}


def full(models):
    """Each model with the task that has every layer, the decoder's too."""
    wholes = {
        model: "masked_lm" if "masked_lm" in MODELS[model].TASKS else "sequence_classification" for model in models
    }
    return list(wholes.items())


SCORES = ("_attn_logits", "_att")  # Linears whose outputs are scores: not activations, and yet to be scaled
SATURATED = {"fast_transformer": (80, 0.75)}  # largest spread, least weight; of it a layer has but 18 softmaxes


def build(model, task, saturated=False, **options):
    """The model with fake weights, and its batch without labels where it can do without."""
    module = MODELS[model]
    config = CONFIGS[model](**{**module.VARIANTS["tiny"], **options})
    network = getattr(module, module.TASKS[task])(config).eval()
    parameters = dict(network.named_parameters())  # a tied one once
    for name, array in fake_data.make_weights(model, {name: tuple(p.shape) for name, p in parameters.items()}):
        value = fake_data.saturate(model, name, array) if saturated else array
        parameters[name].data = torch.from_numpy(np.array(value))
    batch = fake_data.make_batch(model, task, dataclasses.asdict(config))
    labels = fake_data.label_names(model, task)
    return network, {key: torch.from_numpy(value) for key, value in batch.items() if key not in labels}


@dataclasses.dataclass
class Attention:
    """One softmax: the spread of its unmasked logits, overall and over the keys of a query, and its largest weights."""

    spread: float
    spread_over_keys: float
    largest: float


def attention(logits, mask, weights):
    logits, weights = logits.double(), weights.double()
    mask = mask.expand_as(logits)
    some = mask.sum(-1) > 3
    mean = (logits * mask).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)
    variance = ((logits - mean) ** 2 * mask).sum(-1) / mask.sum(-1).clamp(min=1)
    return Attention(
        logits[mask & some[..., None]].std().item(),
        variance[some].mean().sqrt().item(),
        weights.amax(-1)[some].mean().item(),
    )


def run(network, batch):
    """Outputs of the model, the attentions in order, and (std, largest) of every module's output by name."""
    attentions, activations = [], {}

    def watch(name):
        def hook(module, inputs, output):
            if name.endswith("softmax") or isinstance(module, torch.nn.Softmax):
                valid = inputs[1][:, None, None] == 1 if len(inputs) > 1 else inputs[0] > -5e3
                attentions.append(attention(inputs[0].masked_fill(~valid, 0.0), valid, output))
            elif name.endswith((*SCORES, ".scale")):
                pass  # scores and factors are no activations
            elif isinstance(output, torch.Tensor) and output.is_floating_point() and output.ndim:
                activations[name] = output.std().item(), output.abs().max().item()

        return hook

    for name, module in network.named_modules():
        module.register_forward_hook(watch(name))
    with torch.no_grad():
        return network(**batch), attentions, activations


@pytest.mark.parametrize(("model", "task"), TASKS)
def test_attention_logits_have_a_standard_deviation_of_about_two(model, task):
    _, attentions, _ = run(*build(model, task))
    assert len(attentions) >= 3
    for found in attentions:
        assert 1.5 < found.spread < 3.5
        assert 1 < found.spread_over_keys < 4
        assert 0.25 < found.largest < 0.7


@pytest.mark.parametrize(("model", "task"), full(WIDE))
def test_the_width_does_not_matter(model, task):
    _, attentions, _ = run(*build(model, task, **WIDE[model]))
    for found in attentions:
        assert 1.5 < found.spread < 3.5
        assert 1 < found.spread_over_keys < 4


@pytest.mark.parametrize(("model", "task"), full(DEEP))
def test_tokens_stay_apart_in_deep_networks(model, task):
    _, attentions, activations = run(*build(model, task, **DEEP[model]))
    assert len(attentions) >= 24
    assert min(found.spread_over_keys for found in attentions) > 0.5
    assert max(largest for _, largest in activations.values()) < 30


@pytest.mark.parametrize(("model", "task"), TASKS)
def test_activations_neither_die_nor_explode(model, task):
    _, _, activations = run(*build(model, task))
    for name, (spread, largest) in activations.items():
        assert 0.02 < spread < 5, name
        assert largest < 30, name


@pytest.mark.parametrize(("model", "task"), WITH_LOGITS)
def test_the_second_probe_saturates_attention_and_outputs(model, task):
    outputs, attentions, activations = run(*build(model, task, saturated=True))
    widest, least = SATURATED.get(model, (60, 0.9))
    for found in attentions:
        assert 15 < found.spread < widest
        assert found.largest > least
    for name, logits in outputs.items():
        if name.endswith("logits"):
            gap = (logits.amax(-1) - logits.amin(-1)).max()
            assert 64 < gap < 600, name
            assert 60 < logits.abs().max() < 500, name
    assert all(np.isfinite(largest) for _, largest in activations.values())


@pytest.mark.parametrize(("model", "task"), TASKS)
def test_the_batch_is_what_the_forward_takes(model, task):
    network, inputs = build(model, task)
    module = MODELS[model]
    config = dataclasses.asdict(CONFIGS[model](**module.VARIANTS["tiny"]))
    batch = fake_data.make_batch(model, task, config)
    outputs = network(**{key: torch.from_numpy(value) for key, value in batch.items()})
    assert ("loss" in outputs) == (task not in ("backbone", "encoder"))
    assert all(bool(torch.isfinite(value).all()) for value in outputs.values())
    assert set(inputs) == set(batch) - fake_data.label_names(model, task)
