"""safetensors: the header's length (8 bytes), a JSON header of name → dtype, shape, data_offsets, gapless data."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from convert.errors import CheckpointError
from convert.formats import shards
from convert.formats.blueprint import Blueprint, Tensors, nbytes, shard_index, shard_names
from convert.formats.stored import MAX_INDEX, WORDS, StoredTensor, plausible

CODES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}


def index(path: Path) -> shards.Index:
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
        if size < 8 or length > min(size - 8, MAX_INDEX):
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
        code, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        shape = tuple(shape) if isinstance(shape, list) else None
        sound = isinstance(code, str) and plausible(shape, begin, end)
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise CheckpointError(f"{path}: {name}: bad header entry {str(entry)[:80]}")
    if code not in CODES:
        raise CheckpointError(f"{path}: {name}: dtype {code[:20]} is not supported; known: {', '.join(CODES)}")
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


def index_shards(path: Path) -> shards.Index:
    """The tensors of all shards that model.safetensors.index.json names."""
    return shards.read(path, index)


def draw(parts: Sequence[Tensors], metadata: Mapping[str, str]) -> list[Blueprint]:
    """model.safetensors, or its shards and their index. Wide types come first, so that every tensor is aligned."""
    files = dict(zip(shard_names("model", ".safetensors", len(parts)), parts, strict=True))
    drawn = [_file(name, tensors, metadata) for name, tensors in files.items()]
    return drawn if len(parts) == 1 else [*drawn, shard_index("model.safetensors.index.json", files)]


def _file(name: str, tensors: Tensors, metadata: Mapping[str, str]) -> Blueprint:
    codes = {dtype: code for code, dtype in CODES.items()}
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    reached = 0
    for tensor, (dtype, shape) in sorted(tensors.items(), key=lambda item: -WORDS[item[1][0]].itemsize):
        begin, reached = reached, reached + nbytes(dtype, shape)
        header[tensor] = {"dtype": codes[dtype], "shape": shape, "data_offsets": (begin, reached)}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    order = [tensor for tensor in header if tensor != "__metadata__"]
    return Blueprint(name, (len(text).to_bytes(8, "little") + text, *order))
