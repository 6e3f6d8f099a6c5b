"""Judging two files of arrays by fixed tolerances, for what was recorded without a noise floor.

Names, shapes and kinds must be the same; integers and truth values must be equal; floats may differ as the tolerance
says. Nothing is broadcast, transposed or left out before it is judged.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from align.blame import Finding
from align.difference import Difference, absolute_error, difference
from align.verdict import Verdict

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Tolerance:
    """What floats must satisfy: mean |a − e| ≤ `mean_atol`, and for each element |a − e| ≤ `atol` + `rtol`·|e|.

    What is None is not asked, `atol` or `rtol` alone leave the other 0. By default the mean is held to 10⁻⁶, which is
    what reprod_log asks.
    """

    mean_atol: float | None = None
    atol: float | None = None
    rtol: float | None = None

    @classmethod
    def of(cls, mean_atol: float | None, atol: float | None, rtol: float | None) -> "Tolerance":
        """What was named, or the default if nothing was."""
        return cls(mean_atol, atol, rtol) if (mean_atol, atol, rtol) != (None, None, None) else cls(1e-6)

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


def judge_arrays(expected: Arrays, actual: Arrays, tolerance: Tolerance) -> list[Verdict]:
    """The verdicts on all names of either side, in the expected side's order; up to two on each array of floats."""
    verdicts: list[Verdict] = []
    for name, array in expected.items():
        if name in actual:
            verdicts += _judge(name, array, actual[name], tolerance)
        else:
            verdicts.append(_verdict(name, "array", _one_sided("missing", array, "the actual file lacks it")))
    for name, array in actual.items():
        if name not in expected:
            verdicts.append(_verdict(name, "array", _one_sided("unexpected", array, "only the actual file has it")))
    return verdicts


def findings(verdicts: list[Verdict]) -> list[Finding]:
    """One finding for each array that is wrong."""
    first: dict[str, Finding] = {}
    for v in verdicts:
        if not v.passed and v.name not in first:
            first[v.name] = Finding(v.name, _why(v), v.name, {"ratio": v.ratio, "limit": v.limit}, v.relative)
    return list(first.values())


def _judge(name: str, expected: np.ndarray, actual: np.ndarray, tolerance: Tolerance) -> Iterator[Verdict]:
    found = difference(expected, actual)
    if found.status != "ok":
        yield _verdict(name, "array", replace(found, detail=found.detail + _transposed(expected, actual)))
    elif expected.dtype.kind != "f":
        yield _verdict(name, "equal", replace(found, detail=_transposed(expected, actual)))
    elif expected.size and not np.isfinite(expected).any():
        text = "no expected value is finite, and NaN that agrees with NaN proves nothing"
        yield _verdict(name, "array", replace(found, status="nonfinite", detail=text))
    else:
        yield from _floats(name, expected, actual, found, tolerance)


def _floats(
    name: str, expected: np.ndarray, actual: np.ndarray, found: Difference, tolerance: Tolerance
) -> Iterator[Verdict]:
    hint = _transposed(expected, actual) if found.max_abs else ""
    if tolerance.mean_atol is not None:
        mean = replace(found, max_abs=found.mean_abs, worst_at=None, detail=hint)
        yield _verdict(name, "mean", mean, tolerance.mean_atol)
    if tolerance.atol is not None or tolerance.rtol is not None:
        worst, limit = _worst(expected, actual, tolerance.atol or 0.0, tolerance.rtol or 0.0)
        yield _verdict(name, "max", replace(found, **worst, detail=hint), limit)


def _worst(expected: np.ndarray, actual: np.ndarray, atol: float, rtol: float) -> tuple[dict[str, Any], float]:
    """The element nearest to its limit or furthest beyond it, and that limit."""
    if not expected.size:
        return {}, atol
    error, _ = absolute_error(expected, actual)
    sizes = np.abs(expected.reshape(-1).astype(np.float64))
    limits = atol + rtol * np.where(np.isfinite(sizes), sizes, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(error > 0, error / limits, 0.0)
    at = int(np.argmax(ratios))
    index = tuple(int(i) for i in np.unravel_index(at, expected.shape))
    return {"max_abs": float(error[at]), "worst_at": index}, float(limits[at])


def _transposed(expected: np.ndarray, actual: np.ndarray) -> str:
    """A hint where the transpose would have been equal, or nearly so."""
    if expected.ndim < 2 or expected.T.shape != actual.shape or expected.dtype.kind != actual.dtype.kind:
        return ""
    turned = difference(expected.T, actual)
    near = turned.status == "ok" and turned.max_abs <= 1e-5 * turned.scale
    return ": it is the transpose of what is expected" if near else ""


def _one_sided(status: str, array: np.ndarray, detail: str) -> Difference:
    return Difference(status, array.shape, array.dtype.name, detail=detail)


def _verdict(name: str, kind: str, found: Difference, limit: float = 0.0) -> Verdict:
    return Verdict(name, "recorded", kind, name, found, 0.0, limit)


def _why(verdict: Verdict) -> str:
    d = verdict.difference
    if d.status != "ok":
        return d.detail
    if verdict.kind == "equal":
        return f"{d.dtype} values differ, the worst at {d.worst_at}{d.detail}"
    if verdict.kind == "mean":
        return f"mean difference {d.mean_abs:.2e}, allowed {verdict.limit:.2e}{d.detail}"
    return f"difference {d.max_abs:.2e} at {d.worst_at}, allowed {verdict.limit:.2e} there{d.detail}"
