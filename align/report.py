"""What a comparison says: `print(report)` for people, `as_json()` for programs."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from align.blame import Finding
from align.files import write_text
from align.stage import StageReport
from align.text import render

SCHEMA = 1


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
        write_text(Path(folder) / "report.txt", str(self))

    def __str__(self) -> str:
        return render(self.case, self.environment, self.stages)


class HasJson(Protocol):
    def as_json(self) -> dict[str, Any]: ...


def write_json(path: Path, report: HasJson) -> None:
    """Write the report as strict JSON, whole or not at all; infinities become null."""
    write_text(path, json.dumps(_strict(report.as_json()), indent=1, allow_nan=False) + "\n")


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    return [_strict(item) for item in value] if isinstance(value, (list, tuple)) else value
