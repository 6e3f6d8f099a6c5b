"""Checkpoints: from any layout to any other, bit for bit, without importing a framework.

table("funnel", "transformers", "paddle").plan(shapes)     proves that a conversion is complete
convert_state(state, "funnel", "torch", "paddle")          converts a state dict in memory
open_checkpoint(directory)                                 reads a checkpoint in any format, lazily
load(ElectraForMaskedLM, directory)                        makes a model of either framework of it
save(model, directory, "paddlenlp", config=config)         writes one in any layout
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from convert.checkpoint import Checkpoint, open_checkpoint
from convert.errors import CheckpointError, ConvertError, MappingError
from convert.layouts import LAYOUTS, names, spare, table
from convert.live import load, save
from convert.ops import Alias, Drop, Keep, Linear, Reshape
from convert.plan import Plan, Step, Table, check_state
from convert.rules import Rule

__all__ = [
    "LAYOUTS",
    "Alias",
    "Checkpoint",
    "CheckpointError",
    "ConvertError",
    "Drop",
    "Keep",
    "Linear",
    "MappingError",
    "Plan",
    "Reshape",
    "Rule",
    "Step",
    "Table",
    "check_state",
    "convert_state",
    "load",
    "names",
    "open_checkpoint",
    "save",
    "spare",
    "table",
]


def convert_state(
    state: Mapping[str, np.ndarray], model: str, source: str, target: str, config: Mapping[str, Any] | None = None
) -> dict[str, np.ndarray]:
    """A state dict of `model` in layout `source`, brought to layout `target`; arrays that need no change are shared.

    Raises MappingError with all names that do not fit. `config` as for `table`.
    """
    plan = table(model, source, target, config).plan({name: array.shape for name, array in state.items()})
    return dict(plan.convert(state.__getitem__))
