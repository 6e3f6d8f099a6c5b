"""safetensors: the header's length (8 bytes), a JSON header of name → dtype, shape, data_offsets, gapless data."""

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from convert.arrays import as_bytes
from convert.errors import CheckpointError
from convert.formats.stored import WORDS, StoredTensor, json_object

MAX_HEADER = 100_000_000  # the format's own limit
CODES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}


def index(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """The tensors of a file and its metadata. CheckpointError for anything but a well-formed file."""
    header, start = _header(path)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError(f"{path}: __metadata__ is not a mapping of text to text")
    tensors, ranges = {}, []
    for name, entry in header.items():
        dtype, shape, begin, end = _entry(path, name, entry)
        tensors[name] = StoredTensor(path, start + begin, dtype, shape)
        ranges.append((begin, end, name))
    _check_cover(path, sorted(ranges), path.stat().st_size - start)
    return tensors, metadata


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The JSON header, and where the data begins."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, MAX_HEADER):
            raise CheckpointError(
                f"{path}: truncated, or no safetensors: a header of {length} bytes in a file of {size}"
            )
        text = file.read(length)
    try:
        header = json.loads(text, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: bad safetensors header: {error}") from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: bad safetensors header: not a JSON object")
    return header, 8 + length


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found


def _entry(path: Path, name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """dtype, shape and byte range of one header entry, each checked."""
    try:
        code, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        numbers = (*shape, begin, end)
        plausible = isinstance(code, str) and all(type(number) is int and 0 <= number < 1 << 48 for number in numbers)
    except (KeyError, TypeError, ValueError):
        plausible = False
    if not plausible:
        raise CheckpointError(f"{path}: {name}: bad header entry {str(entry)[:80]}")
    if code not in CODES:
        raise CheckpointError(f"{path}: {name}: dtype {code} is not supported; known: {', '.join(CODES)}")
    needed = math.prod(shape) * WORDS[CODES[code]].itemsize
    if end - begin != needed:
        raise CheckpointError(f"{path}: {name}: {end - begin} bytes, but shape {shape} of {code} takes {needed}")
    return CODES[code], shape, begin, end


def _check_cover(path: Path, ranges: Iterable[tuple[int, int, str]], size: int) -> None:
    """The data must be covered once: no overlap, no gap, nothing beyond the end, nothing left over."""
    reached = 0
    for begin, end, name in ranges:
        if begin != reached:
            fault = "overlaps the tensor before it" if begin < reached else "leaves a gap before it"
            raise CheckpointError(f"{path}: {name} at byte {begin} {fault}, which ends at {reached}")
        reached = end
    if reached != size:
        fault = "truncated" if reached > size else "trailing bytes"
        raise CheckpointError(f"{path}: {fault}: the header describes {reached} bytes of data, the file has {size}")


def index_shards(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """The tensors of all shards that an index file names; it must agree with each shard's own header."""
    places = json_object(path).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        raise CheckpointError(f"{path}: no weight_map of tensor to file")
    tensors: dict[str, StoredTensor] = {}
    metadata: dict[str, str] = {}
    for file in dict.fromkeys(places.values()):
        if Path(file).name != file or not (path.parent / file).is_file():
            raise CheckpointError(f"{path}: shard {file} is not in the folder")
        found, metadata = index(path.parent / file)
        odd = found.keys() ^ {name for name, place in places.items() if place == file}
        if odd:
            raise CheckpointError(f"{path}: {file} and the index disagree on {', '.join(sorted(odd))}")
        tensors |= found
    return tensors, metadata


def write(
    path: Path,
    tensors: Mapping[str, tuple[str, tuple[int, ...]]],
    arrays: Iterable[tuple[str, np.ndarray]],
    metadata: Mapping[str, str],
) -> None:
    """Write name → (dtype, shape) as one file; `arrays` yields each tensor's words in C order, in any order of names.

    Wide types come first, so that every tensor is aligned. The data reaches the disk before this returns.
    """
    codes = {dtype: code for code, dtype in CODES.items()}
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    offsets, reached = {}, 0
    for name, (dtype, shape) in sorted(tensors.items(), key=lambda item: -WORDS[item[1][0]].itemsize):
        offsets[name] = reached
        reached += math.prod(shape) * WORDS[dtype].itemsize
        header[name] = {"dtype": codes[dtype], "shape": shape, "data_offsets": (offsets[name], reached)}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, array in arrays:
            file.seek(8 + len(text) + offsets[name])
            file.write(as_bytes(array))
        file.flush()
        os.fsync(file.fileno())
