"""Records: named arrays in one file, written as they come and read through a memory map.

A record is what one backend saw at every edge of one pass, or the weights of a case. Arrays stand 64-byte aligned in
the order they were written; a JSON index and its position close the file, so a record cut short is noticed when it is
opened.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from align.errors import CannotCompareError

_MAGIC = b"plumbrec"
_TAIL = struct.Struct("<Q8s")
_ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one array stands in the file and what is known about it beside its values."""

    offset: int
    dtype: str
    shape: tuple[int, ...]
    facts: Mapping[str, Any]


class RecordWriter:
    """Writes a record array by array; the file is complete once closed."""

    def __init__(self, path: str | Path) -> None:
        self._file = open(path, "wb")  # noqa: SIM115 — closed by close()
        self._index: dict[str, dict[str, Any]] = {}

    def add(self, name: str, array: np.ndarray, **facts: Any) -> None:
        """Append `array` under `name`; `facts` are small JSON values kept beside it."""
        if name in self._index:
            raise ValueError(f"{name} is already recorded")
        self._file.write(b"\0" * (-self._file.tell() % _ALIGNMENT))
        entry = {"offset": self._file.tell(), "dtype": array.dtype.str, "shape": list(array.shape), "facts": facts}
        self._file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        self._index[name] = entry

    def close(self) -> None:
        start = self._file.tell()
        self._file.write(json.dumps(self._index).encode())
        self._file.write(_TAIL.pack(start, _MAGIC))
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._file.close()


class Record(Mapping[str, np.ndarray]):
    """A record on disk as a mapping from name to read-only array; nothing is read before it is used.

    Raises:
        CannotCompareError: the file is not a whole record.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        data = np.memmap(self.path, dtype=np.uint8, mode="r") if self.path.stat().st_size else np.empty(0, np.uint8)
        tail = bytes(data[-_TAIL.size :])
        if len(tail) < _TAIL.size or not tail.endswith(_MAGIC):
            raise CannotCompareError(f"{self.path} is not a whole record: it was cut short, record it again")
        start = _TAIL.unpack(tail)[0]
        self._data = data
        try:
            index = json.loads(bytes(data[start : -_TAIL.size]))
            self._entries = {name: _entry(e, data[:start]) for name, e in index.items()}
        except (ValueError, TypeError, KeyError, AttributeError, SyntaxError, RecursionError) as error:
            raise CannotCompareError(
                f"{self.path} is not a whole record ({type(error).__name__} in its index): record it again"
            ) from error

    def __getitem__(self, name: str) -> np.ndarray:
        entry = self._entries[name]
        return np.ndarray(entry.shape, entry.dtype, self._data, entry.offset)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, name: str) -> Entry:
        """Shape, dtype and facts of one array, without reading it."""
        return self._entries[name]


def _entry(raw: Mapping[str, Any], data: np.ndarray) -> Entry:
    """One line of an index, checked: only numbers, truth values and texts, which lie inside `data`."""
    dtype, shape, offset = np.dtype(raw["dtype"]), tuple(raw["shape"]), raw["offset"]
    np.ndarray(shape, dtype, data, offset)  # which raises unless these are whole numbers and the array is all there
    if dtype.kind not in "biufU" or not isinstance(raw["dtype"], str):
        raise ValueError(raw)
    return Entry(offset, raw["dtype"], shape, raw["facts"])


def write_record(path: str | Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """Write a whole mapping at once and return the path."""
    with RecordWriter(path) as writer:
        for name, array in arrays.items():
            writer.add(name, array)
    return Path(path)
