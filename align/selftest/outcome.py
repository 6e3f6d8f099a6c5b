"""What came of one bug or of one clean case: plain data."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

FOUND, MISSED, SKIPPED, ERROR = "found", "missed", "skipped", "error"


@dataclass(frozen=True)
class Outcome:
    """One bug in one side of one architecture.

    `status` is "found", "missed", "skipped" (it changes nothing, `why` says in what) or "error". `found_by` is the
    stage that was red, `named` what it blamed first; `explanation` what it said of the cause and `explained` whether
    that is true, None where it said nothing. `ratio` is the error over its limit. `circumstances` are the task, the
    shape of the batch and the options in which the bug shows, where they are not the usual ones.
    """

    model: str
    side: str
    kind: str
    name: str
    stage: str
    blamed: str
    status: str = MISSED
    found_by: str = ""
    named: str = ""
    why: str = ""
    explanation: str = ""
    explained: bool | None = None
    ratio: float | None = None
    circumstances: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def identity(self) -> str:
        """What a pattern is matched with."""
        return f"{self.kind} {self.name} at {self.blamed} ({self.stage})"

    @property
    def counts(self) -> bool:
        return self.status != SKIPPED

    @property
    def is_found(self) -> bool:
        """Found by the stage that must."""
        return self.status == FOUND and self.found_by == self.stage

    @property
    def is_named(self) -> bool:
        return self.is_found and self.named == self.blamed

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"detected": self.is_found, "right_module": self.is_named}


@dataclass(frozen=True)
class Clean:
    """One pair without a bug, or with a harmless rewrite: any red is a false alarm."""

    name: str
    model: str
    command: str
    alarms: Sequence[str] = ()
    comparisons: int = 0
    worst: float = 0.0
    skipped: str = ""
    error: str = ""
    seconds: float = 0.0

    @property
    def is_green(self) -> bool:
        return not (self.alarms or self.error)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"green": self.is_green}
