"""What a stage without modules has judged: its verdicts, and one finding for each quantity that failed."""

from dataclasses import dataclass, field

from align.blame import Finding
from align.difference import Difference
from align.verdict import Verdict


@dataclass
class Ledger:
    """Verdicts in the order in which they were reached; a failed one says why in its difference's `detail`."""

    verdicts: list[Verdict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def exact(self, name: str, probe: str, kind: str, piece: str, wrong: int, of: int, detail: str) -> None:
        """Judge `of` things, `wrong` of which are not what they must be; a single one fails."""
        found = Difference("ok", (of,), "int64", wrong / max(of, 1), float(wrong), float(wrong), 0.0, detail=detail)
        self.verdicts.append(Verdict(name, probe, kind, piece, found, 0.0, 0.0))

    def findings(self) -> list[Finding]:
        """One finding for each piece, by the first verdict that failed."""
        failed: dict[str, Verdict] = {}
        for verdict in self.verdicts:
            if not verdict.passed:
                failed.setdefault(verdict.piece, verdict)
        return [Finding(p, v.difference.detail, v.name, {"probe": v.probe}, v.relative) for p, v in failed.items()]
