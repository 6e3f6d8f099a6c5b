"""Judging gradients: like values, with a scale that mathematically zero gradients share with their neighbours.

The gradient of a key bias is zero in theory and 10⁻¹⁷ in practice on either side, so no relative limit fits it. The
limit is max(64·(M + u·b), 10⁻¹²·s): M the noise floor, s the largest expected value, and b the largest gradient of the
same kind (of edges, of parameters) in the same block of the network.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from align.blame import Finding
from align.difference import Difference, difference
from align.edges import ROOT, is_input, module_of
from align.gradients import GradientRecord
from align.verdict import TAU, K, Verdict, limit_of, rounding

EDGE, PARAMETER, RULE = "gradient", "parameter gradient", "rule"


def judge_gradients(replay: Mapping[str, Any], probe: str, dtype: str = "float64") -> list[Verdict]:
    """The verdicts on the gradients of edges, in the order of the backward pass, and then of parameters.

    In float32 the limit is 32·(e + 2⁻²⁴·b), as for values.
    """
    found = {name: Difference.from_json(raw) for name, raw in replay["gradients"].items()}
    scales: dict[tuple[str, str], float] = {}
    for name, d in found.items():
        key = _kind(name), _block(_module(name))
        scales[key] = max(scales.get(key, 0.0), d.scale)
    verdicts = []
    for name, d in found.items():
        noise, block = replay["gradient_noise"].get(name, 0.0), scales[_kind(name), _block(_module(name))]
        limit = limit_of(noise, block, dtype) if dtype == "float32" else gradient_limit(noise, block, d.scale)
        piece = _piece(name, replay["callers"])
        verdicts.append(Verdict(name, probe, _kind(name), piece, d, noise, limit))
    return verdicts


def gradient_limit(noise: float, block: float, scale: float) -> float:
    """The largest |actual − expected| that passes in float64; see the module's docstring."""
    return max(K * (noise + rounding("float64", block)), TAU * scale)


def _kind(name: str) -> str:
    return EDGE if ":" in name else PARAMETER


def _module(name: str) -> str:
    return module_of(name) if ":" in name else name.rpartition(".")[0] or ROOT


def _piece(name: str, callers: Mapping[str, str]) -> str:
    """Whose code made a gradient: a module its inputs', the caller those that it sends back to a module's outputs."""
    if ":" not in name or is_input(name):
        return _module(name)
    return callers.get(name, ROOT)


def _block(module: str) -> str:
    """The layer that a module belongs to: the path up to the first number, else its first part."""
    parts = module.split(".")
    numbered = next((n for n, part in enumerate(parts) if part.isdecimal()), 0)
    return ".".join(parts[: numbered + 1])


def class_sums(
    values: Mapping[str, np.ndarray], gradients: GradientRecord, description: Mapping[str, Any], probe: str
) -> Iterator[Verdict]:
    """A rule that the reference itself must obey: the gradient of softmax cross-entropy sums to 0 over the classes.

    But for rounding: a softmax knows exp(x − log Σ exp x) no better than its argument, so to u·|x|, and the gradient is
    that times what is sent back to the loss.
    """
    for module, facts in description["kinds"].items():
        edge = f"{module}:in0"
        softmax = "CrossEntropy" in facts["class"] and "Binary" not in facts["class"]
        gradient = gradients.get(edge) if softmax else None
        if gradient is None or not gradient.size:
            continue
        sums = gradient.sum(-1)
        sent = gradients.get(f"{module}:out")
        size = np.abs(gradient).sum(-1).max() if sent is None else np.abs(sent).max()
        limit = K * rounding("float64", float(size * (1 + np.abs(values[edge]).max())))
        yield Verdict(
            f"{edge} summed over classes", probe, RULE, module, difference(np.zeros_like(sums), sums), 0.0, limit
        )


def first_stop(failing: Sequence[Verdict], replay: Mapping[str, Any]) -> list[Finding]:
    """Where gradients fail because a path is cut on one side: the first tensor that would pass none, and its maker."""
    for edge, side in replay["stops"].items():
        wrong = [v for v in failing if v.name in replay["leaks" if side == "torch" else "absent"]]
        if wrong:
            maker = replay["callers"][edge] if is_input(edge) else module_of(edge)
            called = replay["names"][side]
            why = f"no gradient passes {edge} in {called}: the path is detached there"
            evidence = {"ratio": wrong[0].ratio, "explanation": {"text": f"the path is detached in {called}"}}
            return [Finding(maker, why, edge, evidence, stands=True)]
    return []


def finding_of(verdict: Verdict, replay: Mapping[str, Any]) -> Finding:
    """What a failing gradient says, and of whom."""
    d = verdict.difference
    if verdict.name in replay["absent"]:
        text = "no gradient arrives: the path is detached, or the parameter is not used"
    elif verdict.name in replay["leaks"]:
        text = f"a gradient of {d.max_abs:.2e} arrives where {replay['names']['torch']} stops it"
    elif d.status != "ok":
        text = d.detail
    else:
        text = f"worst difference {d.max_abs:.2e} at {d.worst_at}, allowed {verdict.limit:.2e}"
    what = {
        EDGE: f"the gradient that it sends back to {verdict.name}",
        PARAMETER: f"the gradient of its parameter {verdict.name}",
        RULE: f"a law of softmax cross-entropy is broken in {replay['names']['torch']} itself",
    }[verdict.kind]
    evidence = {"probe": verdict.probe, "ratio": verdict.ratio, "max_abs": d.max_abs, "limit": verdict.limit}
    return Finding(verdict.piece, f"{what}: {text}", verdict.name, evidence, verdict.relative)
