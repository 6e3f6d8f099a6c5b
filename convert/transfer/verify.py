"""Reading back what was written, through the format's own reader."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from convert.checksums import UPDATE, Kind
from convert.errors import CheckpointError
from convert.formats.blueprint import Tensors
from convert.formats.stored import StoredTensor
from convert.transfer.stream import BLOCK, Stream
from convert.transfer.write import Checksums

Reader = Callable[[Path], tuple[dict[str, StoredTensor], dict[str, str]]]


class VerificationError(Exception):
    """What was written does not read back as what was meant: a broken disk, or a defect of ours."""


def read_back(path: Path, reader: Reader, tensors: Tensors, kinds: Mapping[str, Kind], checksums: Checksums) -> None:
    """Compare names, types, shapes and checksums of the written file (or of all that this index names) with `tensors`.

    `kinds` tells, for each name, which checksum it is.
    """
    try:
        found, _ = reader(path)
        if {name: (tensor.dtype, tensor.shape) for name, tensor in found.items()} != tensors:
            raise VerificationError(f"{path.name} reads back with other names, types or shapes than were written")
        for name, tensor in found.items():
            if _checksum(tensor, kinds[name]) != checksums[name]:
                raise VerificationError(f"{path.name}: {name} does not read back as it was written")
    except CheckpointError as error:
        raise VerificationError(f"does not read back: {error}") from None


def _checksum(tensor: StoredTensor, kind: Kind) -> int:
    stream, checksum = Stream(tensor), 0
    buffer = np.empty(max(BLOCK, stream.largest), np.uint8)
    for block in stream.blocks(lambda nbytes: buffer[:nbytes]):
        checksum = UPDATE[kind](block, checksum)
    return checksum
