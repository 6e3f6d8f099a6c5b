"""Do both sides compute the same? Asked of `python -m align`, which runs them and judges.

It is asked as a program, through the command line and the JSON that are its contract: this package stands below
`align` and imports no framework.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convert.errors import ConvertError
from convert.transfer import Transfer


@dataclass(frozen=True)
class Agreement:
    """What the forward stage says of the torch model made of SRC and the Paddle model made of DST."""

    passed: bool
    verdict: str
    comparisons: int

    def as_json(self) -> dict[str, Any]:
        return {"passed": self.passed, "verdict": self.verdict, "comparisons": self.comparisons}


def compare(transfer: Transfer, source: Path, part: str | None, destination: Path) -> Agreement:
    """Run our torch model on the weights in `source` and our Paddle model on those that were written to `destination`.

    Both get the same fake data and are compared module by module. Raises ConvertError where that cannot be done.
    """
    import subprocess  # these two are slow to import, and only this needs them
    import tempfile

    with tempfile.TemporaryDirectory(prefix="plumbline-") as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "align", "step1", "--model", transfer.rules.model, "--quiet"]
        command += ["--checkpoint", f"{source}", "--layout", transfer.rules.source, "--paddle-checkpoint"]
        command += [f"{destination}", "--json", f"{report}", *(["--part", part] if part else [])]
        done = subprocess.run(command, capture_output=True, text=True)
        if not report.is_file():
            why = done.stderr.strip().removeprefix("align: ") or f"align ended with code {done.returncode}"
            raise ConvertError(f"{destination} is written, but both sides could not be compared: {why}")
        content = json.loads(report.read_text("utf-8"))
    diffs = sum(len(stage["diffs"]) for stage in content["stages"])
    return Agreement(content["passed"], done.stdout.strip(), diffs)
