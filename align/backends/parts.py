"""A backend whose larger abilities stand in files of their own, `align/FOLDER/NAME.py`, imported when they are asked
for.
"""

import importlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from align.backends.protocol import Backend

if TYPE_CHECKING:
    from align.batching import Pipeline
    from align.dropout import SharedMasks
    from align.engines import Engine
    from align.engines.schedules import Schedule
    from align.engines.spec import OptimizerSpec


class InParts(Backend):
    def widened(self) -> AbstractContextManager[None]:
        return self._part("widening").widened()

    def dropped(self, masks: "SharedMasks") -> AbstractContextManager[None]:
        return self._part("dropout").replaced(masks)

    def engine(self, parameters: Mapping[str, Any], spec: "OptimizerSpec") -> "Engine":
        return self._part("engines").ENGINE(parameters, spec)

    def native_rates(self, schedule: "Schedule", lr: float) -> list[float]:
        return self._part("engines.schedulers").native_rates(schedule, lr)

    def pipeline(self) -> "Pipeline":
        from align.batching import pipeline  # reaches scores, which take a second to import

        return pipeline(self.name)

    def _part(self, folder: str) -> Any:
        return importlib.import_module(f"align.{folder}.{self.name}")
