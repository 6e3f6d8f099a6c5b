"""pytorch_model.bin, what torch.save writes for a state dict: read in its present and its older form, and drawn.

Strides, storage offsets and shared storages are honoured. Nothing of torch is imported and nothing in the pickle is
run.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from convert.errors import CheckpointError
from convert.formats import shards, torch_legacy, torch_zip
from convert.formats.blueprint import Blueprint, Tensors, nbytes, shard_index, shard_names
from convert.formats.pickled import PickleRefusedError
from convert.formats.stored import WORDS, StoredTensor, span
from convert.formats.torch_state import View, pickled_state, read_views
from convert.formats.torch_zip import ArchiveError, Part, Record

EXPANDED = 1 << 30  # bytes that a tensor with more elements than its storage may unfold to
METADATA = "metadata.json"  # a record of our own, which torch.load passes over
MAX_METADATA = 1 << 20


def index(path: Path) -> shards.Index:
    """The tensors of a state dict, and the metadata if we wrote the file. CheckpointError for anything else."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
            file.seek(0)
            views, storages, metadata = _read_archive(file, size) if zipped else (*torch_legacy.read(file, size), {})
    except (ArchiveError, PickleRefusedError) as error:
        raise CheckpointError(f"{path}: {error}") from None
    return {name: _stored(path, name, view, storages) for name, view in views.items()}, metadata


def index_shards(path: Path) -> shards.Index:
    """The tensors of all shards that pytorch_model.bin.index.json names."""
    return shards.read(path, index)


def _read_archive(file: BinaryIO, size: int) -> tuple[dict[str, View], dict[str, Record], dict[str, str]]:
    records = torch_zip.records(file, size)
    if "data.pkl" not in records:
        raise ArchiveError("a zip file, but not one of torch.save: it has no data.pkl")
    if "byteorder" in records and _content(file, records["byteorder"]) != b"little":
        raise ArchiveError("written on a big-endian machine")
    metadata = _metadata(_content(file, records[METADATA])) if METADATA in records else {}
    state = records["data.pkl"]
    file.seek(state.offset)
    views = read_views(file, state.offset + state.size)
    storages = {name[5:]: record for name, record in records.items() if name.startswith("data/")}
    return views, storages, metadata


def _content(file: BinaryIO, record: Record) -> bytes:
    file.seek(record.offset)
    return file.read(min(record.size, MAX_METADATA))


def _metadata(text: bytes) -> dict[str, str]:
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"bad {METADATA}: {error}") from None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ArchiveError(f"{METADATA} is not a mapping of text to text")
    return metadata


def _stored(path: Path, name: str, view: View, storages: Mapping[str, Record]) -> StoredTensor:
    """Where the tensor lies, once it is known to lie inside its storage."""
    storage = storages.get(view.key)
    if storage is None:
        raise CheckpointError(f"{path}: {name}: its storage {view.key[:100]} is not in the file")
    width, elements = WORDS[view.dtype].itemsize, math.prod(view.shape)
    room = view.room * view.unit
    inside = (view.start + span(view.shape, view.strides)) * width <= room <= storage.size
    if not inside or (elements * width > max(room, EXPANDED)):
        raise CheckpointError(
            f"{path}: {name}: shape {view.shape} at {view.start} does not fit its storage of {view.room} elements"
        )
    return StoredTensor(path, storage.offset + view.start * width, view.dtype, view.shape, view.strides)


def draw(parts: Sequence[Tensors], metadata: Mapping[str, str]) -> list[Blueprint]:
    """pytorch_model.bin, or its shards and their index, as torch.save and transformers write them.

    `metadata` stands in a record of its own, which torch.load passes over.
    """
    text = json.dumps(dict(metadata), ensure_ascii=False).encode()
    files = dict(zip(shard_names("pytorch_model", ".bin", len(parts)), parts, strict=True))
    drawn = [_archive(name, tensors, text) for name, tensors in files.items()]
    return drawn if len(parts) == 1 else [*drawn, shard_index("pytorch_model.bin.index.json", files)]


def _archive(name: str, tensors: Tensors, metadata: bytes) -> Blueprint:
    about = {"data.pkl": pickled_state(tensors), METADATA: metadata, "byteorder": b"little"}
    storages = {f"data/{key}": (tensor, nbytes(*described)) for key, (tensor, described) in enumerate(tensors.items())}
    records = [Part(record, content, len(content)) for record, content in about.items()]
    records += [Part(record, tensor, size) for record, (tensor, size) in storages.items()]
    return torch_zip.draw(name, Path(name).stem, [*records, Part("version", b"3\n", 2)])
