"""reprod_log's files and log lines: `forward_torch.npy`, `forward_paddle.npy` … as its ReprodDiffHelper loads them."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from align.difference import difference
from align.files import whole, write_text

THRESHOLD = 1e-6  # of the mean absolute difference, reprod_log's own
_LOGGER = "root"


def write_pair(folder: Path, name: str, expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> None:
    """Write `NAME_torch.npy`, `NAME_paddle.npy`, and in `NAME_diff.log` the lines that reprod_log's check would log."""
    for side, arrays in (("torch", expected), ("paddle", actual)):
        write_arrays(folder / f"{name}_{side}.npy", arrays)
    write_text(folder / f"{name}_diff.log", log_text(expected, actual))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write one file as reprod_log's logger does: a pickled dictionary in an array without dimensions."""
    content = np.array({key: np.array(value) for key, value in arrays.items()}, dtype=object)
    with whole(path) as temporary, temporary.open("wb") as file:
        np.save(file, content, allow_pickle=True)


def log_text(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray], threshold: float = THRESHOLD) -> str:
    """The lines of reprod_log's report of two dictionaries, by their mean difference.

    Where it would have raised, broadcast or transposed, the line says False and inf.
    """
    stamp = time.strftime("%Y/%m/%d %H:%M:%S")
    lines = _lines(expected, actual, threshold)
    return "".join(f"[{stamp}] {_LOGGER} INFO: {line}\n" for line in lines)


def _lines(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray], threshold: float) -> Sequence[str]:
    lines, all_passed = [], bool(expected)
    for name, mean in _means(expected, actual):
        passed = mean <= threshold
        all_passed &= passed
        lines += [f"{name}: ", f"\tmean diff: check passed: {passed}, value: {mean}"]
    return [*lines, "diff check passed" if all_passed else "diff check failed"]


def _means(expected: Mapping[str, np.ndarray], actual: Mapping[str, np.ndarray]) -> Iterator[tuple[str, float]]:
    for name in dict.fromkeys([*expected, *actual]):
        both = name in expected and name in actual
        yield name, difference(expected[name], actual[name]).mean_abs if both else float("inf")
