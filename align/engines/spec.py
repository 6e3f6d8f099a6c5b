"""What an optimizer is, in no framework's words: one meaning, which every engine has to compute.

All hyper-parameters are float32 numbers, because Paddle's kernels round some of them silently; a specification rounds
what it is given. The rules, with p the parameter, g its clipped gradient, η its learning rate, λ its weight decay, and
t = 1, 2, … counting the updates of this parameter; a parameter without a gradient is left alone altogether:

sgd        b ← μb + g (b = g at first); p ← p − ηb, or p − η(g + μb) if nesterov. Without momentum p ← p − ηg.
adam       m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; p ← p − η·m̂/(√v̂ + ε), m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ) (Kingma & Ba
           2015); amsgrad takes the largest v so far (Reddi et al. 2018)
adamw      p ← p − ηλp, then adam (Loshchilov & Hutter 2019); without bias correction it is the optimizer of the
           original BERT and ELECTRA, m/(√v + ε)
adamax     u ← max(β₂u, |g| + ε); p ← p − η·m̂/u (Kingma & Ba 2015, with PyTorch's ε)
nadam      adam with Nesterov momentum (Dozat 2016); radam: rectified (Liu et al. 2020), plain momentum while the
           variance is intractable
adagrad    s ← s + g²; p ← p − ηg/(√s + ε) (Duchi et al. 2011)
adadelta   s ← ρs + (1−ρ)g²; d = g·√(a+ε)/√(s+ε); a ← ρa + (1−ρ)d²; p ← p − ηd (Zeiler 2012)
rmsprop    s ← ρs + (1−ρ)g²; g/(√s + ε) as g in sgd's momentum, PyTorch's form (Paddle's own has √(s+ε))
rprop      steps per element, from η at first, grown and shrunk by the sign of the gradient (Riedmiller & Braun 1993)
asgd       averaged SGD (Polyak & Juditsky 1992), PyTorch's form: the average is state, η of one update is the
           learning rate of the update before
lamb       r = m̂/(√v̂ + ε) + λp; p ← p − η·‖p‖/‖r‖·r, the trust ratio 1 where a norm is 0 (You et al. 2020)
adafactor  factored v (Shazeer & Stern 2018), PyTorch's form: η scaled by the parameter's RMS, updates of RMS ≤ 1

Weight decay is g ← g + λp except where λ stands in the rule; adafactor decays as adamw does.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from align.errors import CannotCompareError

ALGORITHMS = (
    "sgd",
    "adam",
    "adamw",
    "adamax",
    "nadam",
    "radam",
    "adagrad",
    "adadelta",
    "rmsprop",
    "rprop",
    "asgd",
    "lamb",
    "adafactor",
)

NOT_DECAYED = ("bias", "norm")


def single(value: float) -> float:
    """The nearest float32 number."""
    return float(np.float32(value))


# What nobody tunes; PyTorch's defaults, rounded as all else.
MOMENTUM_DECAY = single(4e-3)  # nadam
ETAS = (single(0.5), single(1.2))  # rprop
STEP_SIZES = (single(1e-6), 50.0)
LAMBD, ALPHA, T0 = single(1e-4), single(0.75), 1e6  # asgd
BETA2_DECAY, EPS2, MAX_RMS = single(-0.8), single(1e-3), 1.0  # adafactor


@dataclass(frozen=True)
class OptimizerSpec:
    """One optimizer with its hyper-parameters; an algorithm reads those that its rule above has.

    Weight decay leaves out a parameter when one of the patterns `no_decay` is found in its dotted name, whatever the
    case: as BERT and ELECTRA do, so the number of axes plays no part. `layer_decay` multiplies the learning rate by its
    power for every layer below the head (see `depths`). `clip_norm` is the largest global norm n that gradients may
    have; they are multiplied by min(1, clip_norm / (n + 1e-6)), PyTorch's formula. None leaves them as they are.
    """

    name: str
    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    nesterov: bool = False
    rho: float = 0.9
    amsgrad: bool = False
    bias_correction: bool = True
    no_decay: tuple[str, ...] = NOT_DECAYED
    layer_decay: float = 1.0
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        if self.name not in ALGORITHMS:
            raise ValueError(f"unknown algorithm {self.name!r}: choose from {', '.join(ALGORITHMS)}")
        if not self.bias_correction and self.name != "adamw":
            raise ValueError(f"{self.name} has no form without bias correction: use adamw")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float):
                object.__setattr__(self, field.name, single(value))
        object.__setattr__(self, "betas", tuple(single(beta) for beta in self.betas))
        object.__setattr__(self, "no_decay", tuple(self.no_decay))

    def as_json(self) -> dict[str, Any]:
        """Keyword arguments of this class."""
        return asdict(self)


_ADAMW = OptimizerSpec("adamw", 5e-5, weight_decay=0.01, clip_norm=1.0)

PRESETS: Mapping[str, OptimizerSpec] = {
    "sgd": OptimizerSpec("sgd", 0.1, weight_decay=1e-4),
    "momentum": OptimizerSpec("sgd", 0.01, momentum=0.9, weight_decay=1e-4),
    "nesterov": OptimizerSpec("sgd", 0.01, momentum=0.9, nesterov=True, weight_decay=1e-4),
    "adam": OptimizerSpec("adam", 1e-3),
    "adam-l2": OptimizerSpec("adam", 1e-3, weight_decay=0.01),
    "amsgrad": OptimizerSpec("adam", 1e-3, amsgrad=True),
    "adamw": _ADAMW,
    "bert": replace(_ADAMW, lr=1e-4, eps=1e-6, bias_correction=False),
    "electra": replace(_ADAMW, lr=3e-4, eps=1e-6, bias_correction=False, layer_decay=0.8),
    "adamax": OptimizerSpec("adamax", 2e-3),
    "nadam": OptimizerSpec("nadam", 2e-3),
    "radam": OptimizerSpec("radam", 1e-3),
    "adagrad": OptimizerSpec("adagrad", 0.01, eps=1e-10),
    "adadelta": OptimizerSpec("adadelta", 1.0, eps=1e-6),
    "rmsprop": OptimizerSpec("rmsprop", 0.01, rho=0.99),
    "rprop": OptimizerSpec("rprop", 0.01),
    "asgd": OptimizerSpec("asgd", 0.01),
    "lamb": OptimizerSpec("lamb", 2e-3, eps=1e-6, weight_decay=0.01, clip_norm=1.0),
    "adafactor": OptimizerSpec("adafactor", 0.01, eps=1e-15, weight_decay=0.01),
}


def preset(name: str) -> OptimizerSpec:
    """A known-good optimizer by name.

    Raises:
        CannotCompareError: there is none of that name; the message names the nearest.
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? There are" if near else "choose from"
        raise CannotCompareError(f"unknown optimizer {name!r}: {hint} {', '.join(PRESETS)}")
    return PRESETS[name]


@dataclass(frozen=True)
class Group:
    """Parameters that share a learning rate, `factor` times the base rate, and a weight decay."""

    names: tuple[str, ...]
    factor: float
    weight_decay: float


def groups(spec: OptimizerSpec, names: Sequence[str]) -> list[Group]:
    """The parameters in groups; names stand in their order of definition, groups in that of their first member."""
    depth = depths(names)
    head = max(depth.values(), default=0)
    members: dict[tuple[float, float], list[str]] = {}
    for name in names:
        decay = spec.weight_decay if decays(spec, name) else 0.0
        members.setdefault((spec.layer_decay ** (head - depth[name]), decay), []).append(name)
    return [Group(tuple(named), factor, decay) for (factor, decay), named in members.items()]


def decays(spec: OptimizerSpec, name: str) -> bool:
    """Whether weight decay takes the parameter in."""
    return not any(re.search(pattern, name, re.IGNORECASE) for pattern in spec.no_decay)


_LAYER = re.compile(r"(?:.*\.)?(?:layers?|blocks?|encoders?|h)(?:\.\d+)+(?=\.)")
_EMBEDDING = re.compile(r"(?:^|[._])emb(?:edding|[._]|$)")  # embeddings_project, word_embedding, token_emb


def depths(names: Iterable[str]) -> dict[str, int]:
    """How far above the input each parameter stands, read off its dotted name.

    0 is for what modules named `…embedding…` or `…emb` own, 1 … n for the numbered layers (`layer.3`, `blocks.0.1`),
    stack after stack in order of definition, and n + 1 for all else: poolers and heads, ELECTRA's "task-specific"
    parameters.
    """
    names = list(names)
    layers = {name: match.group() for name in names if (match := _LAYER.match(name))}
    stacks = list(dict.fromkeys(re.sub(r"\d+", "#", layer) for layer in layers.values()))
    ordered = sorted(
        set(layers.values()),
        key=lambda layer: (stacks.index(re.sub(r"\d+", "#", layer)), [int(n) for n in re.findall(r"\d+", layer)]),
    )
    place = {layer: 1 + i for i, layer in enumerate(ordered)}
    return {
        name: place[layers[name]] if name in layers else 0 if _EMBEDDING.search(name) else len(ordered) + 1
        for name in names
    }
