"""All gates of one comparison, in the order in which they are applied to what a stage says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from align.errors import CannotCompareError
from align.gates.baseline import Baseline, hold
from align.gates.overrides import widen
from align.gates.settings import Settings
from align.gates.thresholds import APPLY_TO, Thresholds, tighten
from align.report import Report
from align.stage import StageReport


@dataclass(frozen=True)
class Gates:
    """The settings of a project, the thresholds of a command line and a baseline; a call applies them."""

    settings: Settings = field(default_factory=Settings)
    thresholds: Thresholds = field(default_factory=Thresholds)
    baseline: Baseline | None = None

    def __call__(self, report: StageReport) -> StageReport:
        """What a stage says, once wider limits, thresholds and the baseline have had their say."""
        report = widen(report, self.settings.widened, self.settings.source)
        report = tighten(report, self._strictest)
        return hold(report, self.baseline) if self.baseline else report

    @property
    def _strictest(self) -> Thresholds:
        """The command line's thresholds and the project's, each the smaller of the two."""
        pairs = (
            (self.thresholds.max_diff, self.settings.max_diff),
            (self.thresholds.mean_diff, self.settings.mean_diff),
        )
        return Thresholds(*(min((v for v in pair if v is not None), default=None) for pair in pairs))

    def stages(self, asked: Sequence[str]) -> list[str]:
        """The stages that are left to run.

        Raises:
            CannotCompareError: none is; or a threshold was named that no stage would look at.
        """
        left = [stage for stage in asked if stage not in self.settings.skipped]
        if not left:
            raise CannotCompareError(
                f"{self.settings.source}: nothing is left to compare: {'; '.join(self.settings.skips)}"
            )
        if self.thresholds and not set(left) & set(APPLY_TO):
            raise CannotCompareError(
                f"--max-diff and --mean-diff look at float32 outputs, which only {' and '.join(APPLY_TO)} compute"
            )
        return left

    @property
    def mark(self) -> str:
        """What one line says of the overrides."""
        count = len(self.settings.overrides)
        return f" ({count} override{'s' * (count > 1)} in {self.settings.source})" if count else ""

    def finish(self, report: Report) -> Report:
        """The report with every override in it: in the case for programs, skipped stages as notes for people."""
        if not self.settings.overrides:
            return report
        notes = [f"override in {self.settings.source}: {text}" for text in self.settings.skips]
        last = replace(report.stages[-1], notes=[*report.stages[-1].notes, *notes])
        case = {**report.case, "overrides": self.settings.overrides}
        return replace(report, case=case, stages=[*report.stages[:-1], last])

    def check(self, case: Mapping[str, Any]) -> None:
        """CannotCompareError for a baseline of another case."""
        if self.baseline:
            self.baseline.check(case)
