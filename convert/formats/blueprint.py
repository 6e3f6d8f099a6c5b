"""How a file will look, before a byte of it is written: literal bytes, and tensors in the places between them.

Every format is described so, and one writer streams them all (`convert.transfer`).
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from convert.formats.stored import WORDS

Tensors = Mapping[str, tuple[str, tuple[int, ...]]]  # name → (dtype, shape): a key of stored.WORDS, and the shape
Patches = Mapping[int, bytes]  # offset in the file → the bytes that stand there in the end


def _nothing(checksums: Mapping[str, int]) -> Patches:
    return {}


@dataclass(frozen=True)
class Blueprint:
    """One file of a checkpoint.

    `pieces` follow each other without a gap: bytes stand for themselves, a text is the name of the tensor whose bytes,
    in C order, stand there. `patches` gives what could not be known before, within the literal bytes. It is asked with
    the `checksum` of each tensor's bytes, once the tensors of this file and of all files before it are written; files
    without a tensor are written last.
    """

    name: str
    pieces: tuple[bytes | str, ...]
    checksum: Literal["crc32", "crc32c"] = "crc32c"
    patches: Callable[[Mapping[str, int]], Patches] = _nothing

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors in the file, in its order."""
        return tuple(piece for piece in self.pieces if isinstance(piece, str))


# What a format module offers for writing: the files of a checkpoint whose tensors are split into `shards` (one shard
# is one file of tensors; with several, a format adds its index file).
Draw = Callable[[Sequence[Tensors], Mapping[str, str]], list[Blueprint]]


def nbytes(dtype: str, shape: Sequence[int]) -> int:
    """Bytes of one tensor."""
    return math.prod(shape) * WORDS[dtype].itemsize


def shard_names(stem: str, suffix: str, count: int) -> list[str]:
    """The names that transformers and PaddleNLP give `count` files: stem.suffix, or stem-00001-of-00002.suffix …"""
    if count == 1:
        return [f"{stem}{suffix}"]
    return [f"{stem}-{number:05d}-of-{count:05d}{suffix}" for number in range(1, count + 1)]


def shard_index(name: str, files: Mapping[str, Tensors]) -> Blueprint:
    """The JSON index that transformers and PaddleNLP put beside several shards; `files` maps a shard's name to it."""
    sizes = [nbytes(*described) for tensors in files.values() for described in tensors.values()]
    places = {tensor: file for file, tensors in files.items() for tensor in tensors}
    content = {"metadata": {"total_size": sum(sizes)}, "weight_map": dict(sorted(places.items()))}
    return Blueprint(name, (json.dumps(content, indent=2, ensure_ascii=False).encode(),))
