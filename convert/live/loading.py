"""From a checkpoint to a live model."""

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from convert.arrays import first_nonfinite
from convert.checkpoint import Checkpoint, open_checkpoint
from convert.errors import CheckpointError, ConvertError
from convert.layouts import spare, table
from convert.live.fit import fit
from convert.live.framework import Framework, architecture_of, config_class, framework_of
from convert.plan import Plan

FLOATS = ("float64", "float32", "float16", "bfloat16")  # what a model can hold
Model = TypeVar("Model")


def load(
    model_class: type[Model],
    directory: str | Path,
    layout: str | None = None,
    *,
    part: str | None = None,
    strict: bool = True,
    dtype: str | None = None,
    config: Mapping[str, Any] | None = None,
) -> Model:
    """A model of `model_class`, in evaluation mode, with the weights of the checkpoint in `directory`.

    The class is one of `models_torch` or `models_paddle`. The checkpoint may be in any layout and format that
    `open_checkpoint` reads, which also explains `layout` and `part`; the model is built by its config.json, of which
    `config` overrides single options. Tensors are converted and filled in one at a time. They keep the dtype of the
    file, or are rounded to `dtype`.

    Names and shapes must be exactly the model's; the checkpoint may also hold what published ones hold for all models
    of an architecture (BERT's pooler and heads of pre-training). With `strict=False`, as fine-tuning needs it, whole
    top-level modules may be missing (a new head keeps its initial values) or left out (the head of before), and the
    backbone may stand alone on either side; a UserWarning names them.

    Raises MappingError with all names that do not fit, ConvertError for whatever else is wrong.
    """
    if dtype not in (None, *FLOATS):
        raise ConvertError(f"unknown dtype {dtype!r}; known: {', '.join(FLOATS)}")
    framework = framework_of(model_class)
    config_of = config_class(sys.modules[model_class.__module__])
    source = open_checkpoint(directory, layout, part=part)
    architecture = architecture_of(model_class)
    options = source.options(architecture)
    plan = table(architecture, source.layout, framework.name, options).plan(source.shapes)
    held = dtype or _stored_float(source)
    model: Any = _built(model_class, config_of, {**options, **(config or {})}, f"{directory}")
    framework.cast(model, held)
    tensors = dict(framework.parameters(model))
    needed = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    places = fit(plan.target_shapes, needed, f"{directory}", strict, spare(architecture))
    if places.loose:
        warnings.warn(f"{directory}: {places.loose}", stacklevel=2)
    _fill(framework, {found: tensors[own] for own, found in places.names.items()}, source, plan, held)
    model.eval()
    return model


def _built(model_class: type[Model], config_of: Any, config: Mapping[str, Any], where: str) -> Model:
    try:
        return model_class(config_of.from_dict(config))  # type: ignore[call-arg]
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{where}: {model_class.__name__} refuses this configuration: {error}") from error


def _stored_float(source: Checkpoint) -> str:
    """The one floating type of the file: a model holds one."""
    found = sorted({dtype for dtype in source.dtypes.values() if "float" in dtype})
    if len(found) != 1 or found[0] not in FLOATS:
        held = " and ".join(found) or "no floating tensor"
        raise CheckpointError(f"{source.weights}: holds {held}; name the model's type with dtype=")
    return found[0]


def _fill(framework: Framework, tensors: Mapping[str, Any], source: Checkpoint, plan: Plan, dtype: str) -> None:
    """Copy each tensor of the plan that the model has; CheckpointError names those with an infinity or NaN."""
    bad = []
    for name, array in plan.convert(source.read):
        if name in tensors:
            where = first_nonfinite(_rounded(array, dtype))
            bad += [] if where is None else [f"{name} at {list(where)}"]
            framework.set_value(tensors[name], array)
    if bad:
        raise CheckpointError(f"{source.weights}: infinity or NaN, in {dtype}, in {', '.join(bad)}")


def _rounded(array: np.ndarray, dtype: str) -> np.ndarray:
    """The array in the one type whose range is narrow enough for ordinary weights to leave it."""
    if dtype != "float16" or array.dtype.kind != "f":
        return array
    with np.errstate(over="ignore"):
        return array.astype(np.float16)
