"""What a probe can see. Each kind of bug is tried in reverse on the clean reference: one that would change nothing
cannot be seen.

The estimates are closed forms on the recorded inputs of modules, on the weights and on the batch, so no model runs
again.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from align.record import Record

# A relative change of a module's value that stands far above every limit in `verdict`.
VISIBLE = 1e-9

Kinds = Mapping[str, Mapping[str, Any]]


@dataclass
class Sight:
    """The kinds of bug that were considered, and those that this probe would show."""

    kinds: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def add(self, kind: str, visible: bool) -> None:
        if kind not in self.kinds:
            self.kinds.append(kind)
        if visible:
            self.seen.add(kind)


def sight(reference: Record, weights: Mapping[str, np.ndarray], batch: Mapping[str, np.ndarray], kinds: Kinds) -> Sight:
    """Which kinds of bug the probe made of `weights` and `batch` can show; `reference` is its float64 record."""
    result = Sight()
    for source in (_batch_kinds(batch), _module_kinds(reference, weights, kinds), _attention_kinds(reference, kinds)):
        for kind, visible in source:
            result.add(kind, visible)
    return result


def _batch_kinds(batch: Mapping[str, np.ndarray]) -> Iterator[tuple[str, bool]]:
    """What the batch alone decides."""
    ids = batch["input_ids"] if "input_ids" in batch else next(iter(batch.values()))
    rows = ids.reshape(-1, ids.shape[-1])
    yield "a lost batch axis (needs a batch of 1)", rows.shape[0] == 1
    yield "batch and length axes confused", rows.shape[0] not in (1, rows.shape[1])
    yield "rounding of odd lengths", rows.shape[1] % 2 == 1
    if "attention_mask" in batch:
        mask = batch["attention_mask"].reshape(rows.shape)
        partial = (mask.any(-1)) & ~mask.all(-1)
        yield "attention mask ignored or inverted", bool(partial.any())
        yield "mask rows given to the wrong sample", bool((mask != mask[0]).any())
        yield "value of a fully masked row", bool((~mask.any(-1)).any())
        yield "row of id 0 zeroed (padding_idx)", bool(((rows == 0) & (mask == 1)).any())
    if "token_type_ids" in batch:
        types = batch["token_type_ids"].reshape(rows.shape)
        yield "token types ignored", bool((types != types[:, :1]).any())


def _module_kinds(reference: Record, weights: Mapping[str, np.ndarray], kinds: Kinds) -> Iterator[tuple[str, bool]]:
    """What single modules decide: norms, activations, biases, dropouts, embeddings."""
    for module, facts in kinds.items():
        test = _TESTS.get(facts["class"])
        if test is not None and f"{module}:in0" in reference:
            yield from test(module, facts, reference[f"{module}:in0"], weights)


def _norm(
    module: str, facts: Mapping[str, Any], x: np.ndarray, weights: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, bool]]:
    variance = float(x.var(-1).min())
    for eps in (1e-5, 1e-6, 1e-12):
        if "eps" in facts and not math.isclose(eps, facts["eps"], rel_tol=1e-3):
            change = abs(eps - facts["eps"]) / (2 * (variance + facts["eps"]))
            yield f"LayerNorm eps {eps:g}", change > VISIBLE
    yield "LayerNorm gamma not applied", _spread(weights.get(f"{module}.weight"), 1.0)
    yield "LayerNorm beta not applied", _spread(weights.get(f"{module}.bias"), 0.0)


def _linear(
    module: str, facts: Mapping[str, Any], x: np.ndarray, weights: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, bool]]:
    if f"{module}.bias" in weights:
        yield "Linear bias not added", _spread(weights[f"{module}.bias"], 0.0)


def _gelu(
    module: str, facts: Mapping[str, Any], x: np.ndarray, weights: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, bool]]:
    yield "GELU erf for tanh", float(np.abs(x).max()) > 0.1


def _dropout(
    module: str, facts: Mapping[str, Any], x: np.ndarray, weights: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, bool]]:
    yield "dropout active in evaluation", facts.get("p", 0) > 0


def _embedding(
    module: str, facts: Mapping[str, Any], x: np.ndarray, weights: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, bool]]:
    table = weights.get(f"{module}.weight")
    if table is not None:
        used = len(np.unique(x))
        yield f"{module}: rows that no id reached", used == len(table)


_TESTS: Mapping[str, Callable[..., Iterator[tuple[str, bool]]]] = {
    "LayerNorm": _norm,
    "Linear": _linear,
    "GELU": _gelu,
    "Dropout": _dropout,
    "Embedding": _embedding,
}


def _spread(values: np.ndarray | None, neutral: float) -> bool:
    return values is not None and float(np.abs(values - neutral).max()) > VISIBLE


def _attention_kinds(reference: Record, kinds: Kinds) -> Iterator[tuple[str, bool]]:
    """What attention probabilities decide; they are recognised where a dropout takes (batch, heads, query, key) rows
    of sum 1.
    """
    for module, facts in kinds.items():
        edge = f"{module}:in0"
        if facts["class"] != "Dropout" or edge not in reference or len(reference.entry(edge).shape) != 4:
            continue
        probabilities = reference[edge]
        if not np.allclose(probabilities.sum(-1), 1.0):
            continue
        yield "attention scale", float(np.ptp(probabilities, axis=-1).max()) > 1e-3
        if probabilities.shape[-1] == probabilities.shape[-2]:
            yield "query and key swapped", not np.allclose(probabilities, probabilities.swapaxes(-1, -2))
        yield "attention heads in another order", not np.allclose(probabilities, probabilities[:, :1])
        attended = probabilities[probabilities > 0]
        yield "logits clamped or clipped (needs gaps over 64)", float(attended.min()) < math.exp(-60)
