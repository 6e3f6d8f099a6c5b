"""What a comparison says: plain data whose verdicts are derived from the recorded numbers, and its JSON form."""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from align.blame import Finding
from align.difference import Difference, difference
from align.edges import is_input
from align.verdict import EdgeVerdict

SCHEMA = 1


@dataclass(frozen=True)
class FreeRun:
    """Both models in float32 from end to end, nothing substituted: the differences that reproductions publish.

    `expected` and `actual` hold what each module of either side returned.
    """

    expected: Mapping[str, np.ndarray]
    actual: Mapping[str, np.ndarray]
    differences: Mapping[str, Difference]

    @classmethod
    def of(cls, expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> Self:
        edges = [edge for edge in expected if not is_input(edge) and edge in actual]
        return cls(expected, actual, {edge: difference(expected[edge], actual[edge]) for edge in edges})

    def as_json(self) -> list[dict[str, Any]]:
        return [
            {
                "name": edge,
                "mean_abs": d.mean_abs,
                "max_abs": d.max_abs,
                "rms": d.rms,
                "scale": d.scale,
                "status": d.status,
            }
            for edge, d in self.differences.items()
        ]

    def save_reprod_log(self, folder: Path) -> None:
        """Write `forward_torch.npy` and `forward_paddle.npy`, the files that reprod_log's diff helper reads."""
        for side, arrays in (("torch", self.expected), ("paddle", self.actual)):
            values = {edge: np.array(arrays[edge]) for edge in self.differences}
            with _whole(folder / f"forward_{side}.npy") as path, path.open("wb") as file:
                np.save(file, np.array(values, dtype=object), allow_pickle=True)


@dataclass(frozen=True)
class StageReport:
    """The verdict on one stage. `blame` are the findings that stand; `notes` what was found harmless."""

    stage: str
    seconds: float
    verdicts: Sequence[EdgeVerdict]
    blame: Sequence[Finding] = ()
    notes: Sequence[str] = ()
    blind: Sequence[str] = ()
    free_run: FreeRun | None = None

    @property
    def passed(self) -> bool:
        """Nothing is blamed, and something was compared."""
        return bool(self.verdicts) and not self.blame

    @property
    def first_divergence(self) -> str | None:
        return self.blame[0].edge if self.blame else None

    @property
    def worst(self) -> EdgeVerdict | None:
        """The edge nearest to its limit, or furthest beyond it."""
        return max(self.verdicts, key=lambda v: (v.difference.status != "ok", v.ratio), default=None)

    def as_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "passed": self.passed,
            "seconds": self.seconds,
            "first_divergence": self.first_divergence,
            "blame": [f.as_json() for f in self.blame],
            "notes": list(self.notes),
            "blind_to": list(self.blind),
            "diffs": [v.as_json() for v in self.verdicts],
            "float32_end_to_end": self.free_run.as_json() if self.free_run else [],
        }


@dataclass(frozen=True)
class Report:
    """The verdict on a comparison: `print(report)` for people, `as_json()` for programs."""

    case: Mapping[str, Any]
    environment: Mapping[str, Any]
    stages: Sequence[StageReport] = field(default_factory=tuple)

    @property
    def passed(self) -> bool:
        """Every stage passed, and there was one."""
        return bool(self.stages) and all(stage.passed for stage in self.stages)

    @property
    def first_divergence(self) -> str | None:
        return next((s.first_divergence for s in self.stages if s.first_divergence), None)

    @property
    def blame(self) -> list[Finding]:
        return [finding for stage in self.stages for finding in stage.blame]

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "passed": self.passed,
            "case": dict(self.case),
            "environment": dict(self.environment),
            "stages": [stage.as_json() for stage in self.stages],
        }

    def save(self, folder: str | Path) -> None:
        """Write `report.json` and `report.txt` into `folder`, making it if need be."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_json(Path(folder) / "report.json", self)
        _write(Path(folder) / "report.txt", str(self))

    def __str__(self) -> str:
        from align.text import render

        return render(self)


def write_json(path: Path, report: Report) -> None:
    """Write the report as strict JSON, whole or not at all; infinities become null."""
    _write(path, json.dumps(_strict(report.as_json()), indent=1, allow_nan=False) + "\n")


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    return [_strict(item) for item in value] if isinstance(value, (list, tuple)) else value


def _write(path: Path, text: str) -> None:
    with _whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A path to write to that becomes `path` only when all is written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
