"""The arrays of a batch, declared once: how each is made, and what a user's own must satisfy.

A `Task` lists the fields that it adds to the three inputs. The tasks that most architectures share stand in `TASKS`;
one that only a single architecture has is declared in that architecture's file.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from fake_data.rows import Rows
from fake_data.stream import Stream

IGNORED = -100
IGNORED_EXAMPLE = 2  # its label is −100; where it is a single row, that is the one without any attended token
CHOICES = 3  # of a multiple-choice question, unless the user's batch has another number

Sizes = Mapping[str, int]  # "batch", "length", "choices", and the entries of the configuration that bound the values
Maker = Callable[[Rows, Sizes, int], np.ndarray]


@dataclass(frozen=True)
class Field:
    """One array: int64 in 0 … bound − 1, or −100 where `ignorable`; or float32 strictly between 0 and the bound.

    `axes` and `bound` are names of sizes (a bound may be a number, or None: any finite value); `make` returns the
    values for the rows, in C order. `label` fields are what the forward stage leaves out. `hint` completes an error
    message with the next step.
    """

    name: str
    axes: tuple[str, ...]
    bound: str | int | None
    make: Maker
    hint: str
    dtype: type = np.int64
    ignorable: bool = False
    label: bool = True


@dataclass(frozen=True)
class Task:
    """What a task adds to the inputs; `masked`: chosen tokens are replaced by the mask token; `types`: there are token
    types.
    """

    fields: tuple[Field, ...] = ()
    masked: bool = False
    axes: tuple[str, ...] = ("batch", "length")
    types: bool = True

    @property
    def inputs(self) -> tuple[Field, ...]:
        """The inputs that every task has: three, or two where the architecture has no token types."""
        made = _INPUTS if self.types else _INPUTS[:2]
        return tuple(Field(name, self.axes, bound, make, hint, label=False) for name, bound, make, hint in made)

    @property
    def all_fields(self) -> tuple[Field, ...]:
        return self.inputs + self.fields


def _original_ids(rows: Rows, sizes: Sizes, seed: int) -> np.ndarray:
    """What stood at the chosen positions before the mask token."""
    return np.where(rows.chosen, rows.ids, IGNORED)


def _replaced(rows: Rows, sizes: Sizes, seed: int) -> np.ndarray:
    """1 where a token counts as replaced, 0 at other text; the first row's padding has 1, which only the mask hides."""
    labels = np.where(rows.text, rows.chosen, IGNORED).astype(np.int64)
    labels[0][rows.attended[0] == 0] = 1
    return labels


def _token_classes(rows: Rows, sizes: Sizes, seed: int) -> np.ndarray:
    """Every class if there is room for all of them."""
    labels = np.full(rows.ids.shape, IGNORED, np.int64)
    labels[rows.text] = _spread(int(rows.text.sum()), sizes["num_labels"], seed)
    return labels


def _example_classes(bound: str) -> Maker:
    """One class per example, as many different ones as there is room for; one example is ignored."""

    def make(rows: Rows, sizes: Sizes, seed: int) -> np.ndarray:
        labels = np.full(sizes["batch"], IGNORED, np.int64)
        labelled = np.arange(sizes["batch"]) != IGNORED_EXAMPLE
        labels[labelled] = _spread(int(labelled.sum()), sizes[bound], seed)
        return labels

    return make


def _targets(rows: Rows, sizes: Sizes, seed: int) -> np.ndarray:
    return Stream(seed, "batch", "labels").normals((sizes["batch"], sizes.get("num_labels", 1)))


def _spread(count: int, bound: int, seed: int) -> np.ndarray:
    stream = Stream(seed, "batch", "labels")
    return stream.strata(count, bound)[stream.order(count)]


def _answers(column: int) -> Maker:
    """First (0) or last (1) position of an answer inside the text of the row's last segment.

    The first row's answer is one token long, the fourth's has lost its end to truncation, an empty row has none.
    """

    def make(rows: Rows, sizes: Sizes, seed: int) -> np.ndarray:
        words = Stream(seed, "batch", "answers").words(2 * len(rows.ids)).reshape(-1, 2)
        return np.array([_answer(rows, row, words[row])[column] for row in range(len(rows.ids))], np.int64)

    return make


def _answer(rows: Rows, row: int, words: np.ndarray) -> tuple[int, int]:
    places = np.flatnonzero(rows.text[row])
    places = places[rows.types[row, places] == rows.types[row, places].max(initial=0)]
    if not places.size:
        return IGNORED, IGNORED
    start, end = np.sort(places[words % np.uint64(places.size)]).tolist()
    return start, {0: start, 3: IGNORED}.get(row, end)


def _noise(rows: Rows, sizes: Sizes, seed: int) -> np.ndarray:
    """Uniform noise; at every other chosen position the original word's is the largest below 1, so that it is drawn.

    A word that the generator restores counts as original: a label that only says what was masked shows there.
    """
    noise = Stream(seed, "batch", "sampling_noise").uniforms((*rows.ids.shape, sizes["vocab_size"]))
    row, column = (places[::2] for places in np.nonzero(rows.chosen))
    noise[row, column, rows.ids[row, column]] = np.nextafter(np.float32(1), np.float32(0))
    return noise


def _segments(rows: Rows, sizes: Sizes, seed: int) -> np.ndarray:
    """The segments, those beyond the last token type joined to it."""
    return np.minimum(rows.types, sizes["type_vocab_size"] - 1)


_INPUTS: tuple[tuple[str, str | int, Maker, str], ...] = (
    ("input_ids", "vocab_size", lambda rows, *_: rows.ids, "tokenise with the vocabulary of this checkpoint"),
    ("attention_mask", 2, lambda rows, *_: rows.attended, "write 1 at tokens and 0 at padding"),
    ("token_type_ids", "type_vocab_size", _segments, "number the segments as the tokeniser does"),
)

_PER_TOKEN, _PER_EXAMPLE = ("batch", "length"), ("batch",)
_UNLABELLED = "write -100 where there is no label"
_LOST = "write -100 where the answer is not in the text"

MASKED_IDS = Field("labels", _PER_TOKEN, "vocab_size", _original_ids, _UNLABELLED, ignorable=True)
REPLACED = Field("labels", _PER_TOKEN, 2, _replaced, "write 1 at replaced tokens, -100 at padding", ignorable=True)
TOKEN_CLASSES = Field("labels", _PER_TOKEN, "num_labels", _token_classes, _UNLABELLED, ignorable=True)
CLASSES = Field("labels", _PER_EXAMPLE, "num_labels", _example_classes("num_labels"), _UNLABELLED, ignorable=True)
CHOICE = Field("labels", _PER_EXAMPLE, "choices", _example_classes("choices"), _UNLABELLED, ignorable=True)
TARGET = Field("labels", _PER_EXAMPLE, None, _targets, "write finite numbers", np.float32)
TARGETS = replace(TARGET, axes=("batch", "num_labels"))
STARTS = Field("start_positions", _PER_EXAMPLE, "length", _answers(0), _LOST, ignorable=True)
ENDS = Field("end_positions", _PER_EXAMPLE, "length", _answers(1), _LOST, ignorable=True)
NOISE = Field(
    "sampling_noise", (*_PER_TOKEN, "vocab_size"), 1, _noise, "draw it anew, without 0 and 1", np.float32, label=False
)

TASKS: Mapping[str, Task] = {
    "backbone": Task(),
    "masked_lm": Task((MASKED_IDS,), masked=True),
    "replaced_token": Task((REPLACED,)),
    "sequence_classification": Task((CLASSES,)),
    "token_classification": Task((TOKEN_CLASSES,)),
    "question_answering": Task((STARTS, ENDS)),
    "multiple_choice": Task((CHOICE,), axes=("batch", "choices", "length")),
}


def regression(num_labels: int) -> Task:
    """What sequence classification is where the configuration says so: one number per example, or several."""
    return Task((TARGET if num_labels == 1 else TARGETS,))
