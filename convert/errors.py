"""How a conversion is refused, and the nearest-name hint that the messages carry."""

import difflib
from collections.abc import Iterable


class ConvertError(ValueError):
    """What a user can mend: an unknown name, a bad file, names that do not fit. The CLI prints it and exits with 2."""


class CheckpointError(ConvertError):
    """A checkpoint on disk cannot be read, trusted or written; the message is one line that starts with the path."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class MappingError(ConvertError):
    """Names or shapes do not fit the rules or the model; `problems` lists every offender, one line each."""

    def __init__(self, where: str, problems: Iterable[str]) -> None:
        self.problems = tuple(printable(problem) for problem in problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__("\n  ".join((f"{where}: {count}", *self.problems)))


def printable(text: str) -> str:
    """`text` with line breaks and terminal codes escaped: names in a file are whatever its author wrote."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def nearest(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the known name most like `name`, or nothing where none is alike."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
