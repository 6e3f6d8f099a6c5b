"""TF V2 bundles: NAME.index, a LevelDB table of tensors, and NAME.data-00000-of-00001 …, their bytes.

The key "" holds the header (BundleHeaderProto), a tensor's name its entry (BundleEntryProto: type, shape, shard,
offset, size, CRC-32C). A partitioned variable's entry names slices; each slice has an entry of its own, under a key
that encodes name and slice. (tensorflow/core/protobuf/tensor_bundle.proto, util/tensor_bundle.)
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from convert.checksums import BLOCK, UPDATE
from convert.errors import CheckpointError
from convert.formats import leveldb_table
from convert.formats.blueprint import Blueprint, Patches, Tensors, nbytes
from convert.formats.leveldb_table import mask, unmask
from convert.formats.protobuf import field, fields, fixed32
from convert.formats.stored import MAX_INDEX, WORDS, StoredTensor, plausible

SUFFIX = ".index"
CHOICE = "checkpoint"  # the text file that says which of a folder's bundles is meant
STEM = "model.ckpt"  # of the bundles that we write
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"  # how tf.train.Checkpoint tells which Python object owns a tensor
CHOSEN = re.compile(r'^\s*model_checkpoint_path\s*:\s*"([^"]+)"', re.MULTILINE)
MAX_SLICES = 1000  # they are compared pair by pair
Slice = tuple[tuple[int, int | None], ...]  # (start, length) along each axis; no length: all of it

DTYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 9: "int64", 10: "bool", 14: "bfloat16",
    17: "uint16", 19: "float16", 22: "uint32", 23: "uint64", 24: "float8_e5m2", 25: "float8_e4m3fn",
}  # fmt: skip
CODES = {dtype: code for code, dtype in DTYPES.items()}
META = b"plumbline."  # begins the keys of our metadata in the table's meta block, which TensorFlow does not read


@dataclass(frozen=True)
class Entry:
    """What the index says of one tensor or slice: a BundleEntryProto. `checksum` is masked."""

    dtype: int = 0
    shape: tuple[int, ...] = ()
    shard: int = 0
    offset: int = 0
    size: int = 0
    checksum: int = 0
    slices: tuple[Slice, ...] = ()


@dataclass(frozen=True)
class ChecksummedTensor(StoredTensor):
    """A tensor whose bytes must have the CRC-32C `checksum`: they are read through once before any is handed out."""

    checksum: int = 0

    @contextmanager
    def opened(self) -> Iterator[Callable[[np.ndarray, int], None]]:
        with super().opened() as fetch:
            checksum, width = 0, WORDS[self.dtype].itemsize
            block = np.empty(min(self.nbytes, BLOCK) // width, WORDS[self.dtype])
            for start in range(0, self.nbytes // width, BLOCK // width):
                words = block[: self.nbytes // width - start]
                fetch(words, start)
                checksum = UPDATE["crc32c"](words.view(np.uint8), checksum)
            if checksum != self.checksum:
                raise CheckpointError(
                    f"{self.path}: damaged: the tensor at byte {self.offset} does not match its checksum"
                )
            yield fetch


@dataclass(frozen=True)
class PartitionedTensor(StoredTensor):
    """A tensor whose `parts` are stored on their own; each goes to the place that its slices tell."""

    parts: tuple[tuple[tuple[slice, ...], ChecksummedTensor], ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(part.path for _, part in self.parts)

    @property
    def in_order(self) -> bool:
        return False

    def read(self) -> np.ndarray:
        words = np.empty(self.shape, WORDS[self.dtype])
        for place, part in self.parts:
            words[place] = part.read()
        return words


def named(prefix: Path) -> Path | None:
    """The index of the bundle that is meant by its path without suffix, as TensorFlow means it, or by the index's."""
    if prefix.is_dir():
        return None
    index = prefix if prefix.suffix == SUFFIX else prefix.with_name(prefix.name + SUFFIX)
    return index if index.is_file() else None


def find(folder: Path) -> Path | None:
    """The index of the folder's bundle: its only one, or of several the one that the `checkpoint` file names."""
    present = sorted(folder.glob(f"*{SUFFIX}"))
    if len(present) < 2:
        return present[0] if present else None
    choice = folder / CHOICE
    said = CHOSEN.search(choice.read_text("utf-8", "replace")[:MAX_INDEX]) if choice.is_file() else None
    chosen = said and folder / f"{Path(said[1]).name}{SUFFIX}"
    if chosen not in present:
        stems = [path.name.removesuffix(SUFFIX) for path in present]
        raise CheckpointError(f"{folder}: holds {', '.join(stems)}; give the path of one of them: {folder / stems[-1]}")
    return chosen


def index(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """The tensors of the bundle whose `.index` file is `path`, and the metadata if the bundle is one of ours.

    CheckpointError for anything but a well-formed index with all its data files beside it.
    """
    try:
        if path.stat().st_size > MAX_INDEX:
            raise ValueError(f"no index of tensors: larger than {MAX_INDEX} bytes")
        entries, meta = leveldb_table.read(path.read_bytes())
        shards = _shards(path, entries.pop(b"", b""))
        found = {key: _entry(value) for key, value in entries.items()}
        _check_ranges(found, shards)
        return _tensors(found, shards), {key.decode(): value.decode() for key, value in _own(meta)}
    except ValueError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: {error}") from None


def _own(meta: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    return [(key.removeprefix(META), value) for key, value in meta.items() if key.startswith(META)]


def _shards(path: Path, header: bytes) -> list[Path]:
    """The data files that the header (a BundleHeaderProto) counts."""
    content = dict(fields(header))
    count = content.get(1, 0)
    if content.get(2, 0) != 0:
        raise ValueError("written on a big-endian machine")
    if not isinstance(count, int) or not 0 < count < 100_000:
        raise ValueError("no header that counts the data files; is it the index of a TensorFlow checkpoint?")
    stem = path.name.removesuffix(SUFFIX)
    shards = [path.with_name(name) for name in data_names(stem, count)]
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise CheckpointError(f"{path}: {', '.join(missing[:5])} {'are' if missing[1:] else 'is'} not beside it")
    return shards


def data_names(stem: str, count: int) -> list[str]:
    """The names of a bundle's data files."""
    return [f"{stem}.data-{number:05d}-of-{count:05d}" for number in range(count)]


def _entry(message: bytes) -> Entry:
    """Decode a BundleEntryProto."""
    names = {1: "dtype", 2: "shape", 3: "shard", 4: "offset", 5: "size", 6: "checksum"}
    content: dict[str, Any] = {}
    slices: list[Slice] = []
    for index, value in fields(message):
        if index == 7:
            slices.append(_slice(_message(value)))
        elif index in names:
            content[names[index]] = _shape(_message(value)) if index == 2 else _number(value)
    return Entry(**content, slices=tuple(slices))


def _shape(message: bytes) -> tuple[int, ...]:
    """Decode a TensorShapeProto."""
    shape = []
    for index, value in fields(message):
        if index == 2:
            shape.append(_number(dict(fields(_message(value))).get(1, 0)))
        elif index == 3 and value:
            raise ValueError("holds a tensor of unknown shape")
    return tuple(shape)


def _slice(message: bytes) -> Slice:
    """Decode a TensorSliceProto."""
    extents = [dict(fields(_message(value))) for index, value in fields(message) if index == 1]
    return tuple((_number(extent.get(1, 0)), _number(extent[2]) if 2 in extent else None) for extent in extents)


def _number(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("an entry has a text where a number belongs")
    return value


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("an entry has a number where a message belongs")
    return value


def _check_ranges(entries: Mapping[bytes, Entry], shards: Sequence[Path]) -> None:
    """All bytes must lie in their file, and none belong to two tensors."""
    sizes = [shard.stat().st_size for shard in shards]
    stored = [(entry.shard, entry.offset, entry.size, key) for key, entry in entries.items() if not entry.slices]
    reached, shard = 0, -1
    for place, offset, size, key in sorted(stored):
        if place >= len(shards) or offset + size > sizes[place]:
            file = shards[place].name if place < len(shards) else f"data file {place} of {len(shards)}"
            raise ValueError(
                f"{_name(key)}: {size} bytes at {offset} are not in {file}: truncated, or another bundle's"
            )
        reached = reached if place == shard else 0
        if offset < reached and size:
            raise ValueError(f"{_name(key)}: overlaps the tensor before it, which ends at byte {reached}")
        reached, shard = max(reached, offset + size), place


def _name(key: bytes) -> str:
    return key.decode(errors="replace")


def _tensors(entries: Mapping[bytes, Entry], shards: Sequence[Path]) -> dict[str, StoredTensor]:
    """The tensors by their names; every slice must belong to one."""
    tensors: dict[str, StoredTensor] = {}
    slices = {key for key in entries if key.startswith(b"\0")}
    for key, entry in entries.items():
        if key in slices or _name(key) == OBJECT_GRAPH:
            continue
        name = key.decode()
        if entry.slices:
            keys = [_slice_key(key, extents) for extents in entry.slices]
            tensors[name] = _partitioned(name, entry, [entries.get(part) for part in keys], shards)
            slices.difference_update(keys)
        else:
            tensors[name] = _tensor(name, entry, shards)
    if slices:
        raise ValueError(f"{len(slices)} slices belong to no tensor")
    return tensors


def _tensor(name: str, entry: Entry, shards: Sequence[Path]) -> ChecksummedTensor:
    dtype = DTYPES.get(entry.dtype)
    if dtype is None:
        raise ValueError(f"{name}: TensorFlow's data type {entry.dtype} is no weight's; known: {', '.join(CODES)}")
    if not plausible(entry.shape, entry.offset, entry.size) or nbytes(dtype, entry.shape) != entry.size:
        raise ValueError(f"{name}: {entry.size} bytes, but shape {entry.shape} of {dtype} takes other than that")
    return ChecksummedTensor(shards[entry.shard], entry.offset, dtype, entry.shape, checksum=unmask(entry.checksum))


def _partitioned(name: str, whole: Entry, parts: Sequence[Entry | None], shards: Sequence[Path]) -> PartitionedTensor:
    """A tensor put together from slices, which must fill it once."""
    if not plausible(whole.shape):
        raise ValueError(f"{name}: has the impossible shape {whole.shape}")
    if len(whole.slices) > MAX_SLICES:
        raise ValueError(f"{name}: has {len(whole.slices)} slices, more than {MAX_SLICES}")
    placed = []
    for extents, entry in zip(whole.slices, parts, strict=True):
        place = _place(whole.shape, extents)
        if place is None or entry is None or (entry.dtype, entry.shape) != (whole.dtype, _extent(place)):
            raise ValueError(f"{name}: its slice {extents} is missing or does not fit shape {whole.shape}")
        placed.append((place, _tensor(f"{name}, slice {extents}", entry, shards)))
    apart = all(_disjoint(a, b) for (a, _), (b, _) in combinations(placed, 2))
    if not apart or sum(math.prod(part.shape) for _, part in placed) != math.prod(whole.shape):
        raise ValueError(f"{name}: its slices do not fill shape {whole.shape} once")
    return PartitionedTensor(placed[0][1].path, 0, DTYPES[whole.dtype], whole.shape, parts=tuple(placed))


def _place(shape: tuple[int, ...], extents: Slice) -> tuple[slice, ...] | None:
    """Where a slice lies in a tensor of `shape`; None if it does not."""
    if len(extents) != len(shape):
        return None
    pairs = zip(shape, extents, strict=True)
    place = tuple(slice(start, size if length is None else start + length) for size, (start, length) in pairs)
    inside = all(part.start <= part.stop <= size for part, size in zip(place, shape, strict=True))
    return place if inside else None


def _extent(place: tuple[slice, ...]) -> tuple[int, ...]:
    return tuple(part.stop - part.start for part in place)


def _disjoint(a: tuple[slice, ...], b: tuple[slice, ...]) -> bool:
    return any(one.stop <= other.start or other.stop <= one.start for one, other in zip(a, b, strict=True))


def _slice_key(name: bytes, extents: Slice) -> bytes:
    """The index's key of a slice: 0, name, rank, starts and lengths (-1: all) in a code that sorts as they do.

    (tensorflow/core/util/saved_tensor_slice_util.cc and lib/strings/ordered_code.cc.)
    """
    escaped = name.replace(b"\0", b"\0\xff") + b"\0\1"
    numbers = [number for start, length in extents for number in (start, -1 if length is None else length)]
    return b"\0" + escaped + _unsigned(len(extents)) + b"".join(map(_signed, numbers))


def _unsigned(value: int) -> bytes:
    """A count of bytes, then as many, highest first."""
    width = (value.bit_length() + 7) // 8
    return bytes([width]) + value.to_bytes(width, "big")


def _signed(value: int) -> bytes:
    """As few bytes as hold the value in two's complement beside a mark of one bit a byte; highest first.

    The mark is that many ones and a zero; it is inverted where the value is negative.
    """
    bits = (value if value >= 0 else ~value).bit_length()
    width = bits // 7 + 1
    mark = ((1 << width) - 1) << (7 * width)
    return ((value & ((1 << 8 * width) - 1)) ^ mark).to_bytes(width, "big")


def draw(shards: Sequence[Tensors], metadata: Mapping[str, str]) -> list[Blueprint]:
    """The data file of each shard, the index, and the text file that tells TensorFlow the bundle's name."""
    files = [
        Blueprint(name, tuple(tensors)) for name, tensors in zip(data_names(STEM, len(shards)), shards, strict=True)
    ]
    places: dict[str, tuple[str, tuple[int, ...], int, int]] = {}
    for number, tensors in enumerate(shards):
        offset = 0
        for name, (dtype, shape) in tensors.items():
            places[name] = (dtype, shape, number, offset)
            offset += nbytes(dtype, shape)
    meta = {META + key.encode(): value.encode() for key, value in metadata.items()}

    def table(checksums: Mapping[str, int]) -> bytes:
        entries = {name.encode(): _message_of(*place, checksums[name]) for name, place in places.items()}
        return leveldb_table.write({b"": _header(len(shards)), **entries}, meta)

    def patches(checksums: Mapping[str, int]) -> Patches:
        return {0: table(checksums)}  # the checksum of a block follows from those of the tensors in it

    said = f'model_checkpoint_path: "{STEM}"\nall_model_checkpoint_paths: "{STEM}"\n'
    blank = table(dict.fromkeys(places, 0))
    return [*files, Blueprint(STEM + SUFFIX, (blank,), patches=patches), Blueprint(CHOICE, (said.encode(),))]


def _header(count: int) -> bytes:
    """A BundleHeaderProto: little-endian, of the format's only version."""
    return field(1, count) + field(3, field(1, 1))


def _message_of(dtype: str, shape: tuple[int, ...], shard: int, offset: int, checksum: int) -> bytes:
    """A BundleEntryProto."""
    sizes = b"".join(field(2, field(1, size)) for size in shape)
    numbers = field(3, shard) + field(4, offset) + field(5, nbytes(dtype, shape))
    return field(1, CODES[dtype]) + field(2, sizes) + numbers + fixed32(6, mask(checksum))
