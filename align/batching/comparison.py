"""What two frameworks' loaders make of the same examples, and whether masking follows its scheme."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from align.batching import Example, collate, cut, order
from align.batching.masking import SCHEMES, mask_tokens, violations
from align.ledger import Ledger
from fake_data.stream import Stream

Arrays = Mapping[str, np.ndarray]
INDEX = "index"  # the field of an example that holds its number


def expected_batches(examples: Sequence[Example], size: int, epochs: int, seed: int, pad_id: int) -> list[Arrays]:
    """The batches of all epochs, by the functions that both sides are to use."""
    return [
        collate([examples[i] for i in batch], pad_id)
        for epoch in range(epochs)
        for batch in cut(order(len(examples), epoch, seed), size)
    ]


def read_batches(record: Arrays) -> list[dict[str, np.ndarray]]:
    """The batches in what `operations.data.batches` wrote."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, array in record.items():
        batch, _, part = name.rpartition(".")
        found.setdefault(batch, {})[part] = array
    return list(found.values())


def judge_batches(ledger: Ledger, side: str, expected: Sequence[Arrays], actual: Sequence[Arrays]) -> None:
    """Judge the order of the examples, then the dtypes, then the values."""
    orders = [[np.asarray(batch.get(INDEX, [])).tolist() for batch in batches] for batches in (expected, actual)]
    wrong = [i for i, pair in enumerate(zip(*orders, strict=False)) if pair[0] != pair[1]]
    wrong += range(*sorted(map(len, orders)))
    detail = ""
    if wrong:
        seen = [side_order[wrong[0]] if wrong[0] < len(side_order) else "no batch" for side_order in orders]
        detail = f"{side} loads other examples: in batch {wrong[0]} {seen[1]}, it should be {seen[0]}"
    ledger.exact(f"order: {side}", "batches", "batch", "order", len(wrong), len(expected), detail)
    for what, piece, different in (("dtype", "dtype", _other_dtype), ("values", "padding", _other_values)):
        found = [text for pair in zip(expected, actual, strict=False) if (text := different(*pair))]
        detail = f"{side}, {found[0]}" if found else ""
        if not wrong or what == "dtype":
            ledger.exact(f"{what}: {side}", "batches", "batch", piece, len(found), len(expected), detail)


def _other_dtype(expected: Arrays, actual: Arrays) -> str:
    for name in expected:
        seen = actual[name].dtype.name if name in actual else "nothing"
        if seen != expected[name].dtype.name:
            return f"{name} is {seen}, it should be {expected[name].dtype.name}"
    return ""


def _other_values(expected: Arrays, actual: Arrays) -> str:
    for name in expected:
        if name not in actual or expected[name].shape != actual[name].shape:
            seen = actual[name].shape if name in actual else "nothing"
            return f"{name} has shape {seen}, it should be {expected[name].shape}"
        if not np.array_equal(expected[name], actual[name]):
            place = tuple(map(int, np.argwhere(expected[name] != actual[name])[0]))
            return f"{name} is {actual[name][place]} at {place}, it should be {expected[name][place]}"
    return ""


def judge_padding(
    ledger: Ledger, name: str, encodings: Sequence[Any], padded: Sequence[Any], paddings: Sequence[Any], pad_id: int
) -> None:
    """Judge how one tokeniser pads its own encodings."""
    for options, rows in zip(paddings, padded, strict=True):
        given = [{part: encoding.get(part, []) for part in rows} for encoding in encodings]
        expected = collate(given, pad_id, **options)
        actual = {part: _rectangle(values) for part, values in rows.items()}
        text = _other_values(expected, actual)
        asked = ", ".join(f"{key} {value}" for key, value in options.items()) or "to the longest"
        detail = f"{name} pads otherwise ({asked}): {text}" if text else ""
        ledger.exact(f"padding: {name}", asked, "tokens", "padding", int(bool(text)), 1, detail)


def _rectangle(rows: Sequence[Sequence[int]]) -> np.ndarray:
    return np.array(rows) if len({len(row) for row in rows}) == 1 else np.empty(0)


ROWS, LENGTH = 512, 128  # about 40,000 words: a share that is wrong by 2.6 hundredths is noticed


def tokens_to_mask(vocabulary: int, special: Mapping[str, int], seed: int) -> dict[str, np.ndarray]:
    """Rows of random words between special tokens, padded: "ids" and "text" (B, L), and the "ordinary" ids."""
    ordinary = np.setdiff1d(np.arange(vocabulary), list(special.values()))
    stream = Stream(seed, "masking", "rows")
    ids = ordinary[stream.integers(ROWS * LENGTH, len(ordinary))].reshape(ROWS, LENGTH)
    lengths = 3 + stream.integers(ROWS, LENGTH - 2)
    place = np.arange(LENGTH)
    text = (place > 0) & (place < lengths[:, None] - 1)
    ids[:, 0] = special["cls"]
    ids[np.arange(ROWS), lengths - 1] = special["sep"]
    ids[place >= lengths[:, None]] = special["pad"]
    return {"ids": ids, "text": text, "ordinary": ordinary}


def judge_masking(ledger: Ledger, side: str, tokens: Arrays, mask_id: int, seed: int, actual: Arrays) -> None:
    """Judge the masks of one side: by the statistics of the scheme, and by being the same as ours."""
    ids, text, ordinary = tokens["ids"], tokens["text"], tokens["ordinary"]
    for name, scheme in SCHEMES.items():
        expected = mask_tokens(ids, text, mask_id, ordinary, scheme, seed)
        inputs, labels = actual[f"{name}.inputs"], actual[f"{name}.labels"]
        broken = "; ".join(violations(ids, text, inputs, labels, mask_id, ordinary, scheme))
        said = f"{side}, {name}'s scheme: {broken}" if broken else ""
        ledger.exact(f"scheme: {side}", name, "masking", "masking", int(bool(broken)), 1, said)
        other = int(((inputs != expected[0]) | (labels != expected[1])).sum())
        detail = f"{side}, {name}'s scheme: from the same seed other words are chosen or changed" if other else ""
        ledger.exact(f"masking: {side}", name, "masking", "masking", other, ids.size, detail)
