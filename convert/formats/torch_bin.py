"""What torch.save writes since 1.6: a zip archive with a pickle of the state dict and one stored record per storage.

Strides, storage offsets and shared storages are honoured. Nothing of torch is imported and nothing in the pickle is
run.
"""

import io
import math
import struct
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

from convert.errors import CheckpointError
from convert.formats.pickled import Call, Global, Persistent, PickleRefusedError, parse
from convert.formats.stored import WORDS, StoredTensor, span

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"  # the magic number that opens a file of torch < 1.6, pickled
EXPANDED = 1 << 30  # bytes that a tensor with more elements than its storage may unfold to

TENSOR = Global("torch._utils", "_rebuild_tensor_v2")
PARAMETER = Global("torch._utils", "_rebuild_parameter")
STORAGES = {
    Global("torch", "DoubleStorage"): "float64",
    Global("torch", "FloatStorage"): "float32",
    Global("torch", "HalfStorage"): "float16",
    Global("torch", "BFloat16Storage"): "bfloat16",
    Global("torch", "LongStorage"): "int64",
    Global("torch", "IntStorage"): "int32",
    Global("torch", "ShortStorage"): "int16",
    Global("torch", "CharStorage"): "int8",
    Global("torch", "ByteStorage"): "uint8",
    Global("torch", "BoolStorage"): "bool",
}


class Record(NamedTuple):
    """One uncompressed file of the archive."""

    offset: int
    size: int


def index(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """The tensors of a state dict (a torch archive has no metadata). CheckpointError for anything else."""
    _check_kind(path)
    try:
        records = _records(path)
        state = _state(path, records)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError, struct.error) as error:
        raise CheckpointError(f"{path}: {error}") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: holds a {type(state).__name__}, not a state dict of names and tensors")
    return {name: _tensor(path, name, value, records) for name, value in state.items()}, {}


def _check_kind(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(len(LEGACY))
    if start == LEGACY:
        raise CheckpointError(
            f"{path}: written by torch.save before 1.6 (or with _use_new_zipfile_serialization=False); "
            "load it and save it again with a current torch"
        )
    if not start.startswith(b"PK"):
        raise CheckpointError(f"{path}: not a torch archive: it is no zip file")


def _records(path: Path) -> dict[str, Record]:
    """Name within the archive's one folder → where its bytes lie."""
    records, size = {}, path.stat().st_size
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
        for entry in archive.infolist():
            file.seek(entry.header_offset)
            header = file.read(30)
            if entry.compress_type != zipfile.ZIP_STORED or len(header) < 30:
                raise zipfile.BadZipFile(f"record {entry.filename} is compressed or cut off")
            names = sum(struct.unpack("<HH", header[26:30]))  # the lengths of its name and of its padding
            record = Record(entry.header_offset + 30 + names, entry.file_size)
            if record.offset + record.size > size:
                raise zipfile.BadZipFile(f"truncated: record {entry.filename} runs past the end of the file")
            records[entry.filename.partition("/")[2]] = record
    return records


def _state(path: Path, records: dict[str, Record]) -> Any:
    if "data.pkl" not in records:
        raise PickleRefusedError("a zip file, but not one of torch.save: it has no data.pkl")
    if "byteorder" in records and _bytes(path, records["byteorder"]) != b"little":
        raise PickleRefusedError("written on a big-endian machine")
    data = _bytes(path, records["data.pkl"])
    return parse(io.BytesIO(data), len(data), {TENSOR, PARAMETER, *STORAGES})


def _bytes(path: Path, record: Record) -> bytes:
    with path.open("rb") as file:
        file.seek(record.offset)
        return file.read(record.size)


def _tensor(path: Path, name: str, value: Any, records: dict[str, Record]) -> StoredTensor:
    """The tensor that the recorded calls describe, once it is known to lie inside its storage."""
    try:
        if value.function == PARAMETER:
            value = value.arguments[0]
        storage, start, shape, strides = value.arguments[:4]
        kind, storage_type, key, _, count = storage.reference
        sound = value.function == TENSOR and isinstance(value, Call) and isinstance(storage, Persistent)
        sound &= kind == "storage" and isinstance(storage_type, Global) and isinstance(key, str)
        dtype, record = (STORAGES[storage_type], records[f"data/{key}"]) if sound else ("", Record(0, 0))
        sound &= len(shape) == len(strides)
        sound &= all(type(number) is int and number >= 0 for number in (start, count, *shape, *strides))
    except (AttributeError, KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise CheckpointError(f"{path}: {name} is not a tensor of a plain state dict")
    width = WORDS[dtype].itemsize
    inside = start + span(shape, strides) <= count and count * width <= record.size
    if not inside or (math.prod(shape) > count and math.prod(shape) * width > EXPANDED):
        raise CheckpointError(f"{path}: {name}: shape {shape} at {start} does not fit its storage of {count} elements")
    return StoredTensor(path, record.offset + start * width, dtype, shape, strides)
