"""The report for programs: JSON that any reader takes, as `report.schema.json` beside this file describes it."""

import json
import math
from collections.abc import Mapping
from importlib import resources
from typing import Any, Protocol


class HasJson(Protocol):
    def as_json(self) -> dict[str, Any]: ...


def render(report: HasJson) -> str:
    """The whole report; infinities and NaN, which JSON does not have, become null."""
    return json.dumps(_strict(report.as_json()), indent=1, allow_nan=False) + "\n"


def schema() -> dict[str, Any]:
    """The JSON Schema of a report."""
    loaded: dict[str, Any] = json.loads(resources.files("align.reports").joinpath("report.schema.json").read_text())
    return loaded


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    return [_strict(item) for item in value] if isinstance(value, (list, tuple)) else value
