"""Judging: from the numbers of a replay and the noise floor to a verdict on every edge.

The limit of an edge is max(64·(M + u·s), 1e-12·s): M is the largest change that perturbing every input and weight by
one unit in the last place made at that edge, s the largest magnitude of the expected value, u = 2⁻⁵³. In float32 it
is 32·(e + 2⁻²⁴·s), with e the reference's own rounding error, found by running the reference in float64 on the same
inputs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from align.difference import Difference
from align.edges import is_input, module_of

PERTURBED_RUNS = (1, 2)  # the seeds of the reference's disturbed passes, which make a noise floor
K = 64.0
TAU = 1e-12
K_FLOAT32 = 32.0
BLURRED = 1e-6
_ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24}
# A float32 value that has lost more than half of its 24 digits where the reference has not is no matter of rounding.
GROSS_FLOAT32 = 2.0**-12


@dataclass(frozen=True)
class Verdict:
    """The verdict on one quantity: an edge, a gradient, a parameter, a loss, a learning rate.

    `kind` says what is compared ("input" and "output" for the values of edges), `piece` whose own code is at fault if
    it fails. `status` is the recorded fact; whether the quantity passes is derived from the numbers.
    """

    name: str
    probe: str
    kind: str
    piece: str
    difference: Difference
    noise: float
    limit: float

    @property
    def ratio(self) -> float:
        """max_abs / limit: at most 1 passes. Integers, whose limit is 0, have ratio 0 or infinity."""
        error = self.difference.max_abs
        return error / self.limit if self.limit else (0.0 if error == 0 else float("inf"))

    @property
    def passed(self) -> bool:
        """Within the limit. Where the reference is so ill-conditioned that there is no limit, nothing passes."""
        return self.difference.status == "ok" and self.ratio <= 1 and isfinite(self.limit)

    @property
    def status(self) -> str:
        if self.difference.status != "ok":
            return self.difference.status
        return "ok" if self.passed else "mismatch"

    @property
    def relative(self) -> float:
        return self.difference.max_abs / self.difference.scale if self.difference.scale else float("inf")

    @property
    def resolution(self) -> float:
        """The smallest difference that fails here, relative to the largest expected value."""
        return self.limit / self.difference.scale if self.difference.scale else 0.0

    @property
    def is_island(self) -> bool:
        """The port computed this in float32 inside the float64 run, and this alone may explain the difference."""
        return not self.passed and (self.difference.narrow or self.difference.dtype == "float32")

    def as_json(self) -> dict[str, Any]:
        d = self.difference
        return {
            "name": self.name,
            "probe": self.probe,
            "kind": self.kind,
            "module": self.piece,
            "status": self.status,
            "shape": list(d.shape),
            "dtype": d.dtype,
            "mean_abs": d.mean_abs,
            "max_abs": d.max_abs,
            "rms": d.rms,
            "scale": d.scale,
            "noise": self.noise,
            "ratio": self.ratio,
            "limit": self.limit,
            "worst_at": None if d.worst_at is None else list(d.worst_at),
            "max_ulp": d.max_ulp,
            "detail": d.detail,
        }


def judge(replay: Mapping[str, Any], noise: Mapping[str, float], probe: str, dtype: str = "float64") -> list[Verdict]:
    """The verdicts of one float64 replay, in the port's execution order."""
    verdicts = []
    for edge, raw in replay["differences"].items():
        found = Difference.from_json(raw)
        floor = noise.get(edge, 0.0)
        limit = 0.0 if found.dtype.startswith(("int", "uint")) else limit_of(floor, found.scale, dtype)
        verdicts.append(edge_verdict(edge, probe, found, floor, limit, replay["callers"][edge]))
    return verdicts


def edge_verdict(name: str, probe: str, found: Difference, noise: float, limit: float, caller: str) -> Verdict:
    """The verdict on the value of an edge: the caller's own code stands behind an input, the module's
    behind an output.
    """
    kind, piece = ("input", caller) if is_input(name) else ("output", module_of(name))
    return Verdict(name, probe, kind, piece, found, noise, limit)


def limit_of(noise: float, scale: float, dtype: str = "float64") -> float:
    """The largest |actual − expected| that passes; see the module's docstring."""
    if dtype == "float32":
        return K_FLOAT32 * (noise + rounding(dtype, scale))
    return max(K * (noise + rounding(dtype, scale)), TAU * scale)


def rounding(dtype: str, scale: float) -> float:
    """u·s: half a unit in the last place of a number of magnitude `scale`."""
    return _ROUNDOFF[dtype] * scale


def noise_floor(runs: Iterable[Mapping[str, Any]], of: str = "differences") -> dict[str, float]:
    """M of every edge: the largest change over the perturbed runs. A run that is not comparable at an edge gives
    infinity. `of` may be "gradients" instead.
    """
    floor: dict[str, float] = {}
    for run in runs:
        for edge, raw in run[of].items():
            floor[edge] = max(floor.get(edge, 0.0), raw["max_abs"])
    return floor


def blurred(verdicts: Iterable[Verdict]) -> dict[str, float]:
    """Edges so badly conditioned in every probe that differences of a millionth pass, with their resolution."""
    finest: dict[str, float] = {}
    for v in verdicts:
        finest[v.name] = min(finest.get(v.name, float("inf")), v.resolution)
    return {name: resolution for name, resolution in finest.items() if resolution > BLURRED}
