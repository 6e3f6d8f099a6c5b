"""Gates for CI: what a project allows itself with a reason, what it asks on top, and what it had before.

`plumbline.toml` (or `[tool.plumbline]` in pyproject.toml) alone can widen a limit or skip a stage, each time with a
reason that every report shows. The command line can only tighten: fixed thresholds on what the models return in
float32, and a baseline that ratios must not outgrow.
"""

from align.gates.gate import Gates
from align.gates.settings import Settings, read_settings

__all__ = ["Gates", "Settings", "read_settings"]
