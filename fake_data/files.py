"""A user's own batch, from an .npz file."""

import os
import zipfile
import zlib
from collections.abc import Iterator
from tokenize import TokenError

import numpy as np

from fake_data.check import check_batch
from fake_data.errors import BatchError
from fake_data.spec import Config

_DAMAGED = (ValueError, TypeError, IndexError, OverflowError, SyntaxError, TokenError)  # what numpy says of a header
_UNREADABLE = (*_DAMAGED, OSError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error)


def load_batch(path: str | os.PathLike[str], model: str, task: str, config: Config) -> dict[str, np.ndarray]:
    """Read the arrays of one batch: int64 (float32 for `sampling_noise`), checked as `check_batch` says.

    Nothing is unpickled. Raises BatchError, naming the file, for one that cannot be read or does not fit.
    """
    try:
        batch = dict(_arrays(path))
        check_batch(batch, model, task, config)
    except BatchError as error:
        raise BatchError("\n".join(f"{path}: {line}" for line in str(error).split("\n"))) from None
    return {key: array.astype(np.float32 if array.dtype.kind == "f" else np.int64) for key, array in batch.items()}


def _arrays(path: str | os.PathLike[str]) -> Iterator[tuple[str, np.ndarray]]:
    try:
        if not zipfile.is_zipfile(path):
            raise BatchError(f"{_why_not(path)}: save the batch with numpy.savez(path, input_ids=…)")
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
            for name in archive.files:
                yield name, archive[name]
    except BatchError:
        raise
    except _UNREADABLE as error:
        raise BatchError(f"cannot be read ({error}): write it anew with numpy.savez") from None


def _why_not(path: str | os.PathLike[str]) -> str:
    if not os.path.exists(path):
        return "no such file"
    return "is a directory" if os.path.isdir(path) else "not an .npz archive, or cut short"
