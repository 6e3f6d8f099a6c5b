"""Whether a batch is one that the model can take: every violation is found before anything runs, and all are told."""

from collections.abc import Iterator, Mapping

import numpy as np

from fake_data.batch import check_length
from fake_data.errors import BatchError
from fake_data.fields import IGNORED, Field, Sizes, Task
from fake_data.spec import Config, Spec, find_spec

_AXES = ("batch", "choices", "length")


def check_batch(batch: Mapping[str, np.ndarray], model: str, task: str, config: Config) -> None:
    """Raise one BatchError with a line per violation: which array, what, where first, what is allowed, what to do.

    The arrays must be those of the task (its labels may all be absent), integers (`sampling_noise`: floats), of
    consistent shapes, with every value inside the range that `config` gives it, and no longer than it allows.
    """
    problems = list(_problems(batch, model, task, config))
    if problems:
        raise BatchError("\n".join(problems))


def _problems(batch: Mapping[str, np.ndarray], model: str, task: str, config: Config) -> Iterator[str]:
    spec = find_spec(model)
    kind = spec.task(task, config)
    yield from _key_problems(batch, kind, f"{model} {task}")
    known = _axis_sizes(batch, kind)
    sizes = spec.sizes(kind, config, known or dict.fromkeys(_AXES, 1))
    if known and all(known.values()):
        yield from _length_problem(spec, sizes)
    for field in kind.all_fields:
        if field.name in batch:
            yield from _array_problems(field, np.asarray(batch[field.name]), sizes, known)


def _key_problems(batch: Mapping[str, np.ndarray], task: Task, what: str) -> Iterator[str]:
    keys = [field.name for field in task.all_fields]
    labels = {field.name for field in task.all_fields if field.label}
    optional = labels if labels.isdisjoint(batch) else set()
    for key in keys:
        if key not in batch and key not in optional:
            yield f"{key}: missing; {what} takes {', '.join(keys)}"
    for key in batch:
        if key not in keys:
            yield f"{key}: unexpected; {what} takes {', '.join(keys)}: remove it"


def _axis_sizes(batch: Mapping[str, np.ndarray], task: Task) -> dict[str, int]:
    """The sizes that `input_ids` gives the batch; none if it is absent or has the wrong rank."""
    axes = task.inputs[0].axes
    shape = np.shape(batch.get("input_ids", 0))
    return dict(zip(axes, shape, strict=True)) if len(shape) == len(axes) else {}


def _length_problem(spec: Spec, sizes: Sizes) -> Iterator[str]:
    try:
        check_length(spec, sizes)
    except BatchError as error:
        yield f"input_ids: {error}"


def _array_problems(field: Field, array: np.ndarray, sizes: Sizes, known: Mapping[str, int]) -> Iterator[str]:
    wanted = np.floating if field.dtype is np.float32 else np.integer
    if not np.issubdtype(array.dtype, wanted):
        yield f"{field.name}: dtype {array.dtype}, expected {np.dtype(field.dtype)}: convert it before saving"
        return
    yield from _shape_problem(field, array, sizes, known)
    if known or field.bound not in _AXES:
        yield from _value_problem(field, array, sizes)


def _shape_problem(field: Field, array: np.ndarray, sizes: Sizes, known: Mapping[str, int]) -> Iterator[str]:
    axes = f"({', '.join(field.axes)})"
    if array.ndim != len(field.axes):
        yield f"{field.name}: shape {array.shape}, expected {len(field.axes)} axes {axes}: reshape it"
    elif array.size == 0:
        yield f"{field.name}: shape {array.shape} holds nothing, expected {axes}: give at least one example"
    elif known and array.shape != (expected := tuple(sizes[axis] for axis in field.axes)):
        yield f"{field.name}: shape {array.shape}, expected {expected} {axes}, as input_ids has it: pad or cut it"


def _value_problem(field: Field, array: np.ndarray, sizes: Sizes) -> Iterator[str]:
    good, allowed = _allowed(field, array, sizes)
    if not good.all():
        place = tuple(int(index) for index in np.argwhere(~good)[0])
        many = f" and {wrong - 1} more" if (wrong := int((~good).sum())) > 1 else ""
        yield f"{field.name}: {array[place]} at {place}{many}, allowed {allowed}: {field.hint}"


def _allowed(field: Field, array: np.ndarray, sizes: Sizes) -> tuple[np.ndarray, str]:
    """Where the values are good, and which values those are."""
    bound = sizes[field.bound] if isinstance(field.bound, str) else field.bound
    if bound is None:
        return np.isfinite(_float32(array)), "finite in float32"
    if field.dtype is np.float32:
        return (_float32(array) > 0) & (_float32(array) < bound), f"0 < x < {bound} in float32"
    good, allowed = (array >= 0) & (array < bound), f"0..{bound - 1}"
    return (good | (array == IGNORED), f"{allowed} or {IGNORED}") if field.ignorable else (good, allowed)


def _float32(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return array.astype(np.float32)
