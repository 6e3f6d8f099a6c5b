"""Writing files whole or not at all."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from align.errors import CannotCompareError


def check_file(option: str, path: Path | None) -> None:
    """Refuse before the work, not after it, a file that could not be written; `option` is what names it.

    Raises:
        CannotCompareError: it is a folder, or in a folder that does not exist.
    """
    if path and path.is_dir():
        raise CannotCompareError(f"{option} {path}: this is a folder, name a file")
    if path and not path.resolve().parent.is_dir():
        raise CannotCompareError(f"{option} {path}: there is no folder {path.resolve().parent}, make it first")


@contextmanager
def refusal(option: str, path: Path) -> Iterator[None]:
    """Say by what the user has named, not by the temporary file beside it, what could not be written.

    Raises:
        CannotCompareError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise CannotCompareError(
            f"{option} {path}: cannot be written: {error.strerror or error}, choose another place"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file. What UTF-8 cannot hold, as the bytes of an odd file name, is written as \\udc80."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write to that becomes `path` only when all is written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_all(texts: Mapping[Path, str]) -> None:
    """Write several UTF-8 text files, with the folders they stand in: all of them or, if one cannot be written, none.

    Raises:
        CannotCompareError: one cannot be written; what was there is there still.
    """
    before = {path: path.read_bytes() if path.is_file() else None for path in texts}
    try:
        with ExitStack() as stack:
            for path, text in texts.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(whole(path)).write_text(text, encoding="utf-8")
    except OSError as error:
        for path, held in before.items():
            with suppress(OSError):
                if held is None:
                    path.unlink()
                elif path.read_bytes() != held:
                    path.write_bytes(held)
        raise CannotCompareError(f"{error.filename}: {error.strerror}, nothing was written") from error
