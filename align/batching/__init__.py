"""From examples to batches, alike in both frameworks: the order, the padding and the masking are NumPy's.

The frameworks' own shuffles differ even from the same seed, and their own collate functions make float64 of Python's
floats. So the order of examples comes from here, as does what a batch looks like; a framework's DataLoader only carries
it out. Only `batching.torch` imports torch and only `batching.paddle` imports paddle.
"""

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from align.batching.masking import mask_tokens
from align.metrics.metric import IGNORED
from fake_data.stream import Stream

Example = Mapping[str, Any]  # lists of ints, one for each token, or single numbers
Arrays = dict[str, np.ndarray]


def order(count: int, epoch: int, seed: int) -> np.ndarray:
    """(count,) int64: the order of the examples in one epoch, a new one in each."""
    return Stream(seed, "order", f"epoch {epoch}").order(count)


def cut(indices: np.ndarray, size: int, drop_last: bool = False) -> list[list[int]]:
    """The indices in batches of `size`; the last is smaller, or with `drop_last` left out if it would be."""
    batches = [indices[start : start + size].tolist() for start in range(0, len(indices), size)]
    return batches[:-1] if drop_last and batches and len(batches[-1]) < size else batches


def collate(
    examples: Sequence[Example],
    pad_id: int,
    side: str = "right",
    max_length: int | None = None,
    multiple: int = 1,
) -> Arrays:
    """One batch: int64 for ints and float32 for floats, whatever Python's own are.

    Lists are padded at `side` to `max_length`, or to the longest of them, rounded up to a `multiple`: with `pad_id` in
    "input_ids", −100 in "labels", 0 in all others.
    """
    fill = {"input_ids": pad_id, "labels": IGNORED}
    return {
        name: _padded([example[name] for example in examples], fill.get(name, 0), side, max_length, multiple)
        for name in examples[0]
    }


def _padded(values: Sequence[Any], fill: int, side: str, length: int | None, multiple: int) -> np.ndarray:
    if not isinstance(values[0], Sequence):
        return np.array(values, np.float32 if isinstance(values[0], float) else np.int64)
    width = -(-(length or max(map(len, values))) // multiple) * multiple
    padded = np.full((len(values), width), fill, np.int64)
    for row, value in zip(padded, values, strict=True):
        row[slice(width - len(value), width) if side == "left" else slice(len(value))] = value
    return padded


Collate = Callable[[Sequence[Example]], Arrays]


@dataclass(frozen=True)
class Pipeline:
    """One side's way from text to batches, part by part; see the functions of the same names.

    `tokenizers` builds the tokenisers of the side's package, by name. `load` yields batches of the framework's tensors
    for lists of indices, by its DataLoader; `native_order` and `native_dtype` are what that does by itself.
    """

    tokenizers: Callable[[Any], Mapping[str, Any]]
    load: Callable[[Sequence[Example], Sequence[Sequence[int]], Collate], Iterable[Mapping[str, Any]]]
    native_order: Callable[[int, int], list[int]]
    native_dtype: Callable[[], str]
    order: Callable[[int, int, int], np.ndarray] = order
    collate: Callable[..., Arrays] = collate
    mask: Callable[..., tuple[np.ndarray, np.ndarray]] = mask_tokens

    def epoch(self, examples: Sequence[Example], size: int, epoch: int, seed: int, pad_id: int) -> Iterator[Any]:
        """The batches of one epoch, as the framework's tensors."""
        batches = cut(self.order(len(examples), epoch, seed), size)
        yield from self.load(examples, batches, lambda rows: self.collate(rows, pad_id))


_TOKENIZERS = {"torch": "transformers", "paddle": "paddlenlp"}


def pipeline(framework: str) -> Pipeline:
    """The way from text to batches of one framework and the tokeniser package that goes with it.

    The package is imported when its tokenisers are built.
    """
    loader = importlib.import_module(f"align.batching.{framework}")
    package = f"align.tokenization.{_TOKENIZERS[framework]}"
    return Pipeline(
        tokenizers=lambda recipe: importlib.import_module(package).tokenizers(recipe),
        load=loader.load,
        native_order=loader.native_order,
        native_dtype=loader.native_dtype,
    )
