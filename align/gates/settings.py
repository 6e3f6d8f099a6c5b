"""The settings of a project: `plumbline.toml`, or `[tool.plumbline]` in pyproject.toml.

[models.funnel]
max-diff = 1e-5                        # on the float32 outputs, from end to end; can only tighten
mean-diff = 1e-6

[[models.funnel.limits]]
module = "funnel.encoder.blocks.2.*"   # a pattern of dotted names
stage = "forward"                      # all stages, if left out
factor = 8                             # the limits there are as many times as wide
reason = "its attention is fused, see issue 12"

[[models.funnel.skip]]
stage = "data"
reason = "this project has no tokenizer"
"""

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from align import registry
from align.errors import CannotCompareError
from align.gates.table import Table
from align.stages import STAGES
from convert.errors import nearest

NAME = "plumbline.toml"
_FALLBACK = "pyproject.toml"
_ALL = "every stage"


@dataclass(frozen=True)
class Widened:
    """Limits that are `factor` times as wide in the modules that match `module`."""

    module: str
    factor: float
    reason: str
    stage: str | None = None

    def holds_for(self, stage: str, module: str) -> bool:
        return self.stage in (None, stage) and fnmatchcase(module, self.module)

    def __str__(self) -> str:
        return f"limits of {self.module} in {self.stage or _ALL} × {self.factor:g}: {self.reason}"


@dataclass(frozen=True)
class Settings:
    """What one model is allowed and asked. `source` is the file that says so; skipped stages have their reasons."""

    source: str = ""
    widened: Sequence[Widened] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)
    max_diff: float | None = None
    mean_diff: float | None = None

    @property
    def skips(self) -> list[str]:
        return [f"the {stage} stage is skipped: {reason}" for stage, reason in self.skipped.items()]

    @property
    def overrides(self) -> list[str]:
        """One line for each thing that is looser than without settings."""
        return [*map(str, self.widened), *self.skips]


def read_settings(model: str, start: Path | None = None) -> Settings:
    """The settings of a model: from the nearest file at or above `start`, the current folder.

    Of any two modules the torch side's `package.module:Class` is the name.

    Raises:
        CannotCompareError: a file that cannot be read, or says anything that is not known, or gives no reason.
    """
    found = _find((start or Path.cwd()).resolve())
    if found is None:
        return Settings()
    path, table = found
    path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    file = Table(str(path), table)
    models = file.table("models")
    file.close()
    for name in models.names:
        if name not in registry.names() and ":" not in name:
            raise CannotCompareError(f"{path}: models.{name}: no such model{nearest(name, registry.names())}")
    settings = {name: _model(models, name) for name in models.names}
    return settings.get(model, Settings())


def _find(start: Path) -> tuple[Path, Mapping[str, Any]] | None:
    for folder in (start, *start.parents):
        own, shared = folder / NAME, folder / _FALLBACK
        table = _load(shared).get("tool", {}).get("plumbline") if shared.is_file() else None
        if own.is_file() and table is not None:
            raise CannotCompareError(f"{own} and [tool.plumbline] in {shared} both hold settings: keep one of them")
        if own.is_file():
            return own, _load(own)
        if table is not None:
            return shared, table
    return None


def _load(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CannotCompareError(f"{path}: cannot be read: {' '.join(str(error).split())}") from error


def _model(models: Table, name: str) -> Settings:
    table = models.table(name)
    widened = tuple(_widened(row) for row in table.rows("limits"))
    skipped = dict(_skipped(row) for row in table.rows("skip"))
    settings = Settings(table.file, widened, skipped, _limit(table, "max-diff"), _limit(table, "mean-diff"))
    table.close()
    return settings


def _widened(row: Table) -> Widened:
    factor = row.number("factor")
    if factor is None or not 1 <= factor < math.inf:
        raise row.wrong("factor", "give a finite number from 1 on: the limits are multiplied by it")
    found = Widened(row.text("module"), factor, _reason(row), _stage(row) if row.has("stage") else None)
    row.close()
    return found


def _skipped(row: Table) -> tuple[str, str]:
    found = _stage(row), _reason(row)
    row.close()
    return found


def _reason(row: Table) -> str:
    if not row.has("reason"):
        raise row.wrong("reason", "missing: every override says why, for those who read the report")
    return row.text("reason")


def _stage(row: Table) -> str:
    name = row.text("stage")
    known = {alias: stage for stage, entry in STAGES.items() for alias in entry.names(stage)}
    if name not in known:
        raise row.wrong("stage", f"no stage {name!r}{nearest(name, known)}")
    return known[name]


def _limit(table: Table, key: str) -> float | None:
    value = table.number(key)
    if value is not None and not 0 <= value < math.inf:
        raise table.wrong(key, f"{value:g} is not a limit: give a number from 0 on")
    return value
