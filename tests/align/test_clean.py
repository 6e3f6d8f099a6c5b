"""No false alarm: 200 clean cases of all architectures over tasks, seeds and shapes, and some badly conditioned."""

import dataclasses

import pytest

from align import registry
from align.case import resolve
from align.client import InProcessClient
from align.compare import judge_case
from align.progress import Steps

# Batch and length of the cases: a batch of one, lengths of 4 and around powers of two, odd and even.
SHAPES = [(1, 4), (1, 31), (2, 5), (2, 8), (3, 7), (3, 16), (4, 9), (5, 12), (5, 33), (6, 17), (7, 15), (8, 6), (9, 21)]
TASKS = [(model, task) for model in registry.names() for task in registry.architecture(model).tasks]
CASES = [
    (model, task, seed, *SHAPES[(3 * number + seed) % len(SHAPES)])
    for number, (model, task) in enumerate(TASKS)
    for seed in range(3)
]

# As deep as the largest published checkpoints, with weights of trained scale: errors grow from layer to layer.
DEEP = {
    "bert": {"num_hidden_layers": 24},
    "electra": {"num_hidden_layers": 24},
    "funnel": {"block_sizes": [10, 10, 10], "block_repeats": [1, 1, 1]},
    "roformer": {"num_hidden_layers": 24},
    "roformer_v2": {"num_hidden_layers": 24},
    "gau_alpha": {"num_hidden_layers": 24},
    "convbert": {"num_hidden_layers": 24},
    "fast_transformer": {"depth": 24},
    "fastformer": {"num_hidden_layers": 24},
}

# The other ways to compute each architecture.
OPTIONS = [
    ("funnel", {"attention_type": "factorized"}),
    ("funnel", {"pooling_type": "max"}),
    ("funnel", {"separate_cls": False}),
    ("funnel", {"truncate_seq": False}),
    ("funnel", {"pool_q_only": False}),
    ("funnel", {"mask_pooling": "pad"}),
    ("electra", {"hidden_act": "gelu_new"}),
    ("electra", {"embedding_size": 40}),
    ("roformer", {"rotary_value": True}),
    ("roformer", {"pool_act": "tanh"}),
    ("roformer_v2", {"rotary_value": True, "use_bias": True}),
    ("gau_alpha", {"normalization": "squared_relu"}),
    ("gau_alpha", {"normalization": "softmax"}),
    ("gau_alpha", {"rotary_order": "concatenated"}),
    ("gau_alpha", {"use_bias": True, "attention_scale": False}),  # scores beyond 1125 beside masked ones
    ("convbert", {"num_groups": 1, "embedding_size": 42}),
    ("convbert", {"pool_act": "tanh", "num_attention_heads": 1, "heads_as": "original"}),
]


def judge(case):
    return judge_case(case, InProcessClient("torch"), InProcessClient("paddle"), Steps())


def assert_green(report):
    assert report.passed, str(report)
    assert report.stages[0].notes == []
    assert report.stages[0].worst.ratio < 0.1, str(report)


def changed(case, options):
    return dataclasses.replace(case, raw_config={**case.raw_config, **options})


def test_there_are_enough_cases():
    assert len(CASES) + 2 * len(DEEP) + len(OPTIONS) >= 200
    assert {tuple(shape) for _, _, _, *shape in CASES} == set(SHAPES)


@pytest.mark.parametrize(("model", "task", "seed", "batch_size", "length"), CASES)
def test_clean_cases_are_green(model, task, seed, batch_size, length):
    assert_green(judge(resolve(model, task, seed=seed, batch_size=batch_size, length=length)))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("model", DEEP)
def test_deep_clean_cases_are_green(model, seed):
    assert_green(judge(changed(resolve(model, seed=seed, batch_size=3, length=11), DEEP[model])))


@pytest.mark.parametrize(("model", "options"), OPTIONS, ids=str)
def test_options_are_green(model, options):
    assert_green(judge(changed(resolve(model), options)))
