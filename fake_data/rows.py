"""Rows of token ids: special tokens, segments and padding around random ids or around a tokenised text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fake_data.stream import Stream

SHORTEST = 3  # of a row that is not empty: the first token, one token of text, the last token
SHORTEST_PAIR = 5  # of a row with two segments: each has a token, and a separator after it

Parts = Sequence[Sequence[int]]  # one row's text: no part (an empty row), one, or the two of a pair


@dataclass(frozen=True)
class SpecialIds:
    """Ids of the special tokens that stand in a batch."""

    pad: int
    cls: int
    sep: int
    mask: int


@dataclass(frozen=True)
class Rows:
    """R rows of one length L, each array (R, L).

    `text` marks the attended positions that hold no special token; `chosen` is the quarter of them, at least one in
    a row that has text, which a task masks, replaces or labels (more than in training: a short row has one too).
    """

    ids: np.ndarray
    attended: np.ndarray
    types: np.ndarray
    text: np.ndarray
    chosen: np.ndarray


def fake_parts(count: int, length: int, vocab_size: int, special: SpecialIds, seed: int) -> list[Parts]:
    """The text of the probe's rows: in order one padded by three, one full, one without any attended token, one
    short, one of about half the length; from the sixth on, any length. The first, second and fifth are pairs.

    Ids are spread over the whole vocabulary and distinct where it is large enough. The last one occurs, and id 0 as a
    real token, once: there a zeroed pad row of the embedding shows.
    """
    sizes = _segment_sizes(count, length, seed)
    ids = iter(_text_ids(sum(map(sum, sizes)), vocab_size, special, seed).tolist())
    return [[[next(ids) for _ in range(size)] for size in row] for row in sizes]


def _segment_sizes(count: int, length: int, seed: int) -> list[tuple[int, ...]]:
    """The number of text tokens in each segment of each row."""
    stream = Stream(seed, "batch", "segments")
    rows = zip(_row_lengths(count, length, stream), range(count), stream.words(count).tolist(), strict=True)
    return [_split(size, pair=row % 4 != 3, word=word) for size, row, word in rows]


def _row_lengths(count: int, length: int, stream: Stream) -> list[int]:
    """Attended tokens per row. Half is even, so that padding begins inside a pooling window of two (1-2, 3-4, …)."""
    probe = [length - 3, length, 0, length // 3, 2 * ((length + 2) // 4)]
    others = SHORTEST + stream.integers(max(count - len(probe), 0), length - SHORTEST + 1)
    return [size and max(size, SHORTEST) for size in [*probe, *others.tolist()][:count]]


def _split(size: int, pair: bool, word: int) -> tuple[int, ...]:
    """Text tokens per segment of a row of `size` tokens; `word` says where a pair is cut."""
    if size == 0:
        return ()
    if not pair or size < SHORTEST_PAIR:
        return (size - 2,)
    first = 1 + word % (size - 4)
    return first, size - 3 - first


def _text_ids(count: int, vocab_size: int, special: SpecialIds, seed: int) -> np.ndarray:
    """(count,) ids of text, in random order; the pad id stands among them once."""
    ordinary = _ordinary(vocab_size, special)
    stream = Stream(seed, "batch", "input_ids")
    ids = ordinary[stream.strata(count, ordinary.size)]
    ids[-1] = ordinary[-1]
    if count > 1:
        ids[0] = special.pad
    return ids[stream.order(count)]


def assemble(
    parts: Sequence[Parts], length: int, vocab_size: int, special: SpecialIds, cls_type: int, seed: int
) -> Rows:
    """Put special tokens around the parts of each row, number the segments from 0, and pad at the right to `length`."""
    ids = np.full((len(parts), length), special.pad, np.int64)
    attended, types, text = (np.zeros(ids.shape, np.int64) for _ in range(3))
    for row, row_parts in enumerate(parts):
        for position, (token, segment, is_text) in enumerate(_tokens(row_parts, special, cls_type)):
            ids[row, position], types[row, position], text[row, position] = token, segment, is_text
            attended[row, position] = 1
    extremes = (ids == special.pad) | (ids == vocab_size - 1)  # stay visible wherever there is something else to choose
    return Rows(ids, attended, types, text == 1, _choose(text == 1, extremes, seed))


def occupy_empty_rows(rows: Rows, vocab_size: int, special: SpecialIds, cls_type: int, seed: int) -> Rows:
    """The same rows, with text and two segments in those of which nothing is attended.

    Were all their tokens the same pad, all their values would be alike, and it would not matter how attention weighs
    them.
    """
    empty = ~rows.attended.any(axis=1)
    ids, types = rows.ids.copy(), rows.types.copy()
    ordinary, shape = _ordinary(vocab_size, special), ids[empty].shape
    words = Stream(seed, "batch", "empty rows").integers(ids[empty].size, ordinary.size)
    ids[empty] = ordinary[words].reshape(shape)
    types[empty] = np.arange(shape[1]) >= shape[1] // 2
    types[empty, 0] = cls_type
    return replace(rows, ids=ids, types=types)


def _ordinary(vocab_size: int, special: SpecialIds) -> np.ndarray:
    """All ids that are no special token's."""
    return np.setdiff1d(np.arange(vocab_size), [special.pad, special.cls, special.sep, special.mask])


def _tokens(parts: Parts, special: SpecialIds, cls_type: int) -> Iterator[tuple[int, int, bool]]:
    """(id, segment, is text) of each token of a row: [CLS] first, [SEP] after every part."""
    if parts:
        yield special.cls, cls_type, False
    for segment, part in enumerate(parts):
        yield from ((token, segment, True) for token in part)
        yield special.sep, segment, False


def _choose(text: np.ndarray, spared: np.ndarray, seed: int) -> np.ndarray:
    """(R, L) bool: a random quarter of each row's text, a spared position only if no other is left."""
    words = Stream(seed, "batch", "chosen").words(text.size).reshape(text.shape)
    rank = np.argsort(np.lexsort((words, spared, ~text), axis=1), axis=1)
    return text & (rank < np.maximum(text.sum(axis=1, keepdims=True) // 4, 1))
