"""The file of a recording: what one side answered to every question of a comparison, with the arrays that it wrote.

A zip archive, nothing in it compressed: `manifest.json`, and each array file under the checksum of its bytes. The
manifest says what was recorded (`case`, `weights`, `batch`), by what (`side`, `environment`), and holds the answers.
"""

import hashlib
import json
import os
import re
import zipfile
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from align.errors import CannotCompareError
from align.files import refusal
from align.record import Record

SCHEMA = 1
_MANIFEST = "manifest.json"
_REQUIRED = ("producer", "against", "stages", "case", "plan", "batch", "weights", "environment")
_CHUNK = 1 << 20
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, RuntimeError)


class RecordingWriter:
    """Writes a recording; it stands at `path` once `close` was given the manifest, and not before.

    Every method raises CannotCompareError for what cannot be written there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with self._refusal():
            self._archive = zipfile.ZipFile(self._temporary, "w", zipfile.ZIP_STORED)
        self._held: set[str] = set()

    def add(self, file: Path) -> str:
        """Keep the bytes of a file; the name under which they are found again."""
        name = digest(file)
        if name not in self._held:
            with self._refusal():
                self._archive.write(file, name)
            self._held.add(name)
        return name

    def close(self, manifest: Mapping[str, Any]) -> None:
        with self._refusal():
            self._archive.writestr(_MANIFEST, json.dumps({"schema": SCHEMA, **manifest}))
            self._archive.close()
            self._temporary.replace(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # where a file has no room, its end has none either
            self._archive.close()
        self._temporary.unlink(missing_ok=True)

    def _refusal(self) -> AbstractContextManager[None]:
        return refusal("--record", self.path)


class Recording:
    """A recording as it stands in a file.

    Raises:
        CannotCompareError: the file is none, or of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                text = archive.read(_MANIFEST)
            self.manifest: Mapping[str, Any] = json.loads(text)
            schema = self.manifest["schema"]
            for key in _REQUIRED:
                self.manifest[key]
            self.side: str = self.manifest["side"]
            self.calls: Mapping[str, list[dict[str, Any]]] = self.manifest["calls"]
        except _UNREADABLE as error:
            raise CannotCompareError(
                f"{path}: no recording that --record wrote ({' '.join(str(error).split())})"
            ) from error
        if schema != SCHEMA:
            raise CannotCompareError(f"{path}: a recording of schema {schema}, not {SCHEMA}: record it anew")
        self.id = hashlib.sha256(text).hexdigest()

    def extract(self, name: str, target: Path) -> None:
        """Write the bytes that are kept under `name` to a file, if they are still what they were."""
        found = hashlib.sha256()
        if not re.fullmatch("[0-9a-f]{64}", name):
            raise CannotCompareError(f"{self.path}: damaged: {name!r} is no checksum; record it anew")
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(name) as source, target.open("wb") as out:
                while chunk := source.read(_CHUNK):
                    found.update(chunk)
                    out.write(chunk)
        except _UNREADABLE as error:
            raise CannotCompareError(f"{self.path}: cannot be read: {' '.join(str(error).split())}") from error
        if found.hexdigest() != name:
            raise CannotCompareError(f"{self.path}: damaged: an array file is not what was recorded; copy it again")


def is_recording(path: Path) -> bool:
    """Whether a file looks like a recording, whole or not."""
    try:
        with zipfile.ZipFile(path) as archive:
            return _MANIFEST in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(path: Path) -> str:
    """SHA-256 of a record's arrays by name, in whatever order they stand; of any other file, of its bytes."""
    try:
        record = Record(path)
    except CannotCompareError:
        return digest(path)
    found = hashlib.sha256()
    for name in sorted(record):
        entry = record.entry(name)
        found.update(json.dumps([name, entry.dtype, entry.shape]).encode())
        found.update(record[name].reshape(-1).data)
    return found.hexdigest()
