"""What a comparison says, as data. `align.reports` has the ways to read it: text, HTML, JSON, JUnit XML, Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from align.blame import Finding
from align.files import write_text
from align.reports import json
from align.stage import NOT_COMPARED, Omission, StageReport
from align.verdict import Verdict

SCHEMA = 1


@dataclass(frozen=True)
class Report:
    """The verdict on a comparison: `print(report)` for people, `as_json()` for programs.

    `omitted` are stages that were asked for and came to no verdict. `modules` holds the modules of either side by name,
    with their classes; `command` is what repeats the comparison, empty where no command line made it.
    """

    case: Mapping[str, Any]
    environment: Mapping[str, Any]
    stages: Sequence[StageReport] = field(default_factory=tuple)
    omitted: Sequence[Omission] = ()
    modules: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    command: Sequence[str] = ()

    @property
    def passed(self) -> bool:
        """Every stage passed, there was one, and none failed to come to a verdict."""
        return bool(self.stages) and all(stage.passed for stage in self.stages) and not self.unfinished

    @property
    def is_red(self) -> bool:
        """A stage found no parity, whatever became of the others."""
        return not self.passed and (not self.unfinished or any(not stage.passed for stage in self.stages))

    @property
    def unfinished(self) -> list[Omission]:
        """The stages that failed to come to a verdict."""
        return [omission for omission in self.omitted if omission.status == NOT_COMPARED]

    @property
    def first_divergence(self) -> str | None:
        return next((s.first_divergence for s in self.stages if s.first_divergence), None)

    @property
    def blame(self) -> list[Finding]:
        return [finding for stage in self.stages for finding in stage.blame]

    @property
    def verdicts(self) -> Iterator[Verdict]:
        return (verdict for stage in self.stages for verdict in stage.verdicts)

    @property
    def headline(self) -> str:
        """The verdict in one line."""
        if self.blame:
            first = self.blame[0]
            return f"NO PARITY: first divergence at {first.edge}, blamed on {first.module}"
        if self.is_red:
            return "NO PARITY: nothing was compared"
        if self.unfinished:
            left = self.unfinished[0]
            return f"UNFINISHED: the {left.stage} stage could not compare: {left.reason}"
        agreeing = [verdict.ratio for verdict in self.verdicts if verdict.passed]
        others = sum(not verdict.passed for verdict in self.verdicts)
        count = f"{len(agreeing)} comparisons agree" + (f", {others} differ harmlessly" if others else "")
        return f"PARITY: {count}; the worst stands at {max(agreeing, default=0.0):.2g} of its limit"

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "passed": self.passed,
            "verdict": self.headline,
            "command": list(self.command),
            "case": dict(self.case),
            "environment": dict(self.environment),
            "modules": {name: dict(classes) for name, classes in self.modules.items()},
            "stages": [stage.as_json() for stage in self.stages],
            "omitted": [omission.as_json() for omission in self.omitted],
        }

    def save(self, folder: str | Path) -> None:
        """Write report.json, report.txt and report.html into `folder`, making it if need be."""
        from align.reports import html  # renderers know reports, not the other way round

        Path(folder).mkdir(parents=True, exist_ok=True)
        write_json(Path(folder) / "report.json", self)
        write_text(Path(folder) / "report.txt", str(self))
        write_text(Path(folder) / "report.html", html.render(self))

    def __str__(self) -> str:
        from align.reports import text

        return text.render(self)


def write_json(path: Path, report: json.HasJson) -> None:
    """Write the report as strict JSON, whole or not at all."""
    write_text(path, json.render(report))
