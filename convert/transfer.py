"""From one checkpoint folder to another: planned, streamed, read back, and put in place only when it is whole."""

import json
import math
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from convert.arrays import as_bytes, first_nonfinite, widen_bfloat16
from convert.checkpoint import CONFIGS, MARK, READERS, Checkpoint
from convert.errors import CheckpointError
from convert.formats import pdparams, safetensors_file
from convert.formats.stored import WORDS, StoredTensor
from convert.layouts import table
from convert.plan import Plan

Tensors = dict[str, tuple[str, tuple[int, ...]]]  # name → (dtype, shape)
Checksums = dict[str, int]  # name → crc32
Reader = Callable[[Path], tuple[dict[str, StoredTensor], dict[str, str]]]

OUTPUTS: Mapping[str, tuple[str, ModuleType, dict[str, str]]] = {
    "torch": ("model.safetensors", safetensors_file, {"format": "pt"}),
    "transformers": ("model.safetensors", safetensors_file, {"format": "pt"}),  # it refuses a file without this mark
    "paddle": ("model.safetensors", safetensors_file, {"format": "np"}),
    "paddlenlp": ("model_state.pdparams", pdparams, {}),
}


class VerificationError(Exception):
    """What was written does not read back as what was meant: a broken disk, or a defect of ours."""


@dataclass(frozen=True)
class Transfer:
    """A proved plan to bring `source` into layout `target`, and the `tensors` that will be written."""

    source: Checkpoint
    target: str
    plan: Plan
    tensors: Tensors
    dtype: str | None

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors to write."""
        return sum(math.prod(shape) * WORDS[dtype].itemsize for dtype, shape in self.tensors.values())

    def run(self, destination: Path, verify: bool = True, progress: Callable[[int], object] = int) -> None:
        """Write the checkpoint folder `destination`; `progress` is told the bytes of each tensor as it is written.

        The weights are streamed into a temporary file beside their place, read back and compared (unless `verify` is
        false), and only then put in place, config.json with them: whatever happens, no half-written file is left.
        Raises MappingError where tied weights differ, CheckpointError for infinities, NaN or a folder that cannot
        take the output, VerificationError where the file does not read back as written.
        """
        name, form, metadata = OUTPUTS[self.target]
        _check_destination(destination, self.source.weights.parent, name)
        try:
            with _folder(destination), _temporary(destination / name) as weights:
                checksums = self._write(weights, form, metadata, progress)
                if verify:
                    _verify(weights, READERS[name], self.tensors, checksums)
                self._put_in_place(weights, destination / name)
        except OSError as error:
            raise CheckpointError(f"{destination}: cannot be written: {error}") from None

    def _write(
        self, path: Path, form: ModuleType, metadata: dict[str, str], progress: Callable[[int], object]
    ) -> Checksums:
        checksums: Checksums = {}
        infinite: list[str] = []

        def arrays() -> Iterator[tuple[str, np.ndarray]]:
            for name, array in self.plan.convert(self._fetch):
                where = first_nonfinite(widen_bfloat16(array) if self.tensors[name][0] == "bfloat16" else array)
                infinite.extend([] if where is None else [f"{name} at {list(where)}"])
                checksums[name] = zlib.crc32(as_bytes(array))
                yield name, array
                progress(array.nbytes)

        form.write(path, self.tensors, arrays(), metadata | {MARK: self.target, "producer": "plumbline"})
        if infinite:
            raise CheckpointError(f"{self.source.weights}: infinity or NaN in what becomes {', '.join(infinite)}")
        return checksums

    def _fetch(self, name: str) -> np.ndarray:
        if self.dtype and _is_float(self.source.dtypes[name]):
            return self.source.read(name, self.dtype)
        return self.source.words(name)

    def _put_in_place(self, weights: Path, place: Path) -> None:
        """Swap both files in. Killed in between, the folder would have no config.json rather than a wrong one."""
        config = place.with_name(CONFIGS[0])
        content = config_bytes(self.source)
        if config.exists() and config.read_bytes() != content:
            config.unlink()
        with _temporary(config) as text:
            text.write_bytes(content)
            _sync(text)
            os.replace(weights, place)
            os.replace(text, config)
        _sync(place.parent)


def plan_transfer(source: Checkpoint, model: str, target: str, dtype: str | None = None) -> Transfer:
    """Prove that `source` can be brought into layout `target`; nothing is read or written but headers.

    `dtype="float32"` widens float16 and bfloat16, exactly. Raises MappingError with all names that do not fit,
    ConvertError for an unknown model or layout.
    """
    plan = table(model, source.layout, target, source.config).plan(source.shapes)
    stored = source.dtypes
    kept = {name: dtype if dtype and _is_float(stored[name]) else stored[name] for name in stored}
    return Transfer(source, target, plan, {step.target: (kept[step.source], step.shape) for step in plan.steps}, dtype)


def config_bytes(source: Checkpoint) -> bytes:
    """The source's config.json byte for byte, or its older form brought into the present one."""
    path = source.weights.with_name(CONFIGS[0])
    return path.read_bytes() if path.exists() else json.dumps(source.config, indent=2).encode()


def _is_float(dtype: str) -> bool:
    return "float" in dtype


def _check_destination(destination: Path, source: Path, name: str) -> None:
    if destination.exists() and not destination.is_dir():
        raise CheckpointError(f"{destination} is a file; name a folder")
    if destination.exists() and destination.samefile(source):
        raise CheckpointError(f"{destination}: source and destination are the same folder")
    others = [other for other in READERS if other != name and (destination / other).exists()]
    if others:
        raise CheckpointError(f"{destination}: already holds {', '.join(others)}; remove it or name another folder")


@contextmanager
def _folder(path: Path) -> Iterator[None]:
    """Make the folder; take it away again if what follows fails and nothing is in it."""
    existed = path.exists()
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if not existed and not any(path.iterdir()):
            path.rmdir()
        raise


@contextmanager
def _temporary(place: Path) -> Iterator[Path]:
    """A path beside `place` to write to; whatever is still there in the end is removed."""
    path = place.with_name(f".{place.name}.{os.getpid()}.partial")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Have the disk hold what was written to a file, or renamed in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _verify(path: Path, reader: Reader, tensors: Tensors, checksums: Checksums) -> None:
    """Read a written file back through its own reader and compare names, types, shapes and checksums."""
    found, _ = reader(path)
    described = {name: (tensor.dtype, tensor.shape) for name, tensor in found.items()}
    if described != tensors:
        raise VerificationError(f"{path}: reads back with other names, types or shapes than were written")
    for name, tensor in found.items():
        if zlib.crc32(as_bytes(tensor.read())) != checksums[name]:
            raise VerificationError(f"{path}: {name} does not read back as it was written")
