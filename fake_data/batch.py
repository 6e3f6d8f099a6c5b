"""A fake batch: exactly the keyword arguments of a model's forward."""

import numpy as np

from fake_data.errors import BatchError
from fake_data.fields import CHOICES, Field, Sizes, Task
from fake_data.rows import Rows, SpecialIds, assemble, fake_parts, occupy_empty_rows
from fake_data.spec import Config, Spec, find_spec

# Unlike each other, the usual numbers of heads, classes and choices, and any width; nor are the lengths that pooling
# makes of 29 (15, 8) alike. Five rows at least, for the five kinds that the probe has.
BATCH_SIZE, LENGTH = 7, 29
SHORTEST_LENGTH, SMALLEST_VOCABULARY = 4, 8


def make_batch(
    model: str, task: str, config: Config, *, seed: int = 0, batch_size: int = BATCH_SIZE, length: int = LENGTH
) -> dict[str, np.ndarray]:
    """The probe for a model and task, the same bytes on every machine.

    `config` is the model's configuration as a dict. Arrays are int64 of shape (batch_size, length); labels of a whole
    example (batch_size,); for multiple choice the inputs are (batch_size, 3, length); for ELECTRA's joint
    pre-training `sampling_noise` is float32 (batch_size, length, vocab_size) inside (0, 1); for regression labels are
    float32 (batch_size,), or (batch_size, num_labels) if there are several.

    What the rows hold is said in `rows.fake_parts`: every regime of padding, an empty row, id 0, pairs; what the labels
    hold in `fields`: every class, and −100.
    Raises BatchError for an unknown model or task, a size below 1 (length: 4) or beyond the model's own limits.
    """
    spec = find_spec(model)
    kind = spec.task(task, config)
    sizes = spec.sizes(kind, config, {"batch": batch_size, "choices": CHOICES, "length": length})
    check_sizes(spec, sizes)
    vocab_size = sizes["vocab_size"]
    special = spec.ids_within(vocab_size)
    count = batch_size * (CHOICES if "choices" in kind.axes else 1)
    parts = fake_parts(count, length, vocab_size, special, seed)
    rows = assemble(parts, length, vocab_size, special, spec.cls_type, seed)
    return fill(kind, sizes, occupy_empty_rows(rows, vocab_size, special, spec.cls_type, seed), special, seed)


def fill(task: Task, sizes: Sizes, rows: Rows, special: SpecialIds, seed: int) -> dict[str, np.ndarray]:
    """The batch of a task from rows of tokens, masked if the task says so."""
    batch = {field.name: _values(field, rows, sizes, seed) for field in task.all_fields}
    if task.masked:
        batch["input_ids"] = np.where(rows.chosen, special.mask, batch["input_ids"])
    return batch


def _values(field: Field, rows: Rows, sizes: Sizes, seed: int) -> np.ndarray:
    return field.make(rows, sizes, seed).astype(field.dtype, copy=False).reshape([sizes[axis] for axis in field.axes])


def check_sizes(spec: Spec, sizes: Sizes) -> None:
    """Raise BatchError if no batch of these sizes can be made, or none that the model could take."""
    least = {"batch": 1, "length": SHORTEST_LENGTH, "vocab_size": SMALLEST_VOCABULARY}
    for name, smallest in least.items():
        if sizes[name] < smallest:
            raise BatchError(f"{name} is {sizes[name]}, the smallest that fake data can be made for is {smallest}")
    check_length(spec, sizes)


def check_length(spec: Spec, sizes: Sizes) -> None:
    """Raise BatchError if the architecture has no position for the last token."""
    if spec.length_limit and sizes["length"] > sizes[spec.length_limit]:
        allowed = sizes[spec.length_limit]
        raise BatchError(f"length is {sizes['length']}, {spec.length_limit} allows {allowed}: shorten it")


def batch_keys(model: str, task: str) -> tuple[str, ...]:
    """The names of all arrays in a batch, in the order of the forward's arguments."""
    return tuple(field.name for field in find_spec(model).task(task).all_fields)


def has_labels(model: str, task: str) -> bool:
    """Whether the task has labels, from which a loss is made."""
    return any(field.label or field.ignorable for field in find_spec(model).task(task).fields)


def label_names(model: str, task: str) -> frozenset[str]:
    """The arrays that the forward stage leaves out; none where the forward cannot do without them."""
    return frozenset(field.name for field in find_spec(model).task(task).all_fields if field.label)
