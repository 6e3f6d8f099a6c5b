"""One table of a settings file, read strictly: what nobody asked for is refused, with the nearest name."""

from collections.abc import Sequence
from typing import Any, Self

from align.errors import CannotCompareError
from convert.errors import nearest


class Table:
    """Each key is asked for by its kind; `close` refuses the rest. `file` and `path` stand in every message.

    Every method raises CannotCompareError for a value of another kind.
    """

    def __init__(self, file: str, content: Any, path: str = "") -> None:
        self.file, self.path = file, path
        if not isinstance(content, dict):
            raise CannotCompareError(f"{file}: {path} is not a table")
        self._content = content
        self._asked: set[str] = set()

    @property
    def names(self) -> Sequence[str]:
        """All keys, for a table whose keys are names."""
        return list(self._content)

    def has(self, key: str) -> bool:
        self._asked.add(key)
        return key in self._content

    def table(self, key: str) -> Self:
        """The table under `key`, an empty one if there is none."""
        return type(self)(self.file, self._content[key] if self.has(key) else {}, self._at(key))

    def rows(self, key: str) -> Sequence[Self]:
        """The tables of the array under `key`."""
        rows = self._content[key] if self.has(key) else []
        if not isinstance(rows, list):
            raise self.wrong(key, f"write [[{self._at(key)}]], once for each")
        return [type(self)(self.file, row, f"{self._at(key)}[{n}]") for n, row in enumerate(rows)]

    def text(self, key: str) -> str:
        """A text that must be there and not be empty."""
        value = self._content[key] if self.has(key) else None
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(key, "missing" if value is None else "it must be a text, and not an empty one")
        return value.strip()

    def number(self, key: str) -> float | None:
        """A number, or None if there is none."""
        if not self.has(key):
            return None
        value = self._content[key]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.wrong(key, f"{value!r} is no number")
        return float(value)

    def close(self) -> None:
        """Refuse the keys that nobody asked for."""
        for key in self._content:
            if key not in self._asked:
                raise CannotCompareError(f"{self.file}: unknown key {self._at(key)}{nearest(key, self._asked)}")

    def wrong(self, key: str, text: str) -> CannotCompareError:
        """What to raise about the value of `key`."""
        return CannotCompareError(f"{self.file}: {self._at(key)}: {text}")

    def _at(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key
