"""What paddle.save writes for a state dict: a pickled dict of name → numpy array, with a table of internal names.

Read without paddle and without unpickling: numpy's own reconstruction is recognised, not run. bfloat16 stands in these
files as unmarked uint16 and float8 as int8, so neither is guessed at.
"""

import math
import os
import pickle
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from convert.arrays import as_bytes
from convert.errors import CheckpointError
from convert.formats.pickled import Call, Global, PickleRefusedError, Span, Text, parse
from convert.formats.stored import WORDS, StoredTensor

NAME_TABLE = "StructuredToParameterName@@"
ARRAY = {Global(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}
BUFFER = {Global(f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")}  # pickle protocol 5
NDARRAY = Global("numpy", "ndarray")
DTYPE = Global("numpy", "dtype")
ENCODE = Global("_codecs", "encode")  # pickle protocol 2 has no bytes: they are text, encoded as Latin-1
DTYPES = {words.str[1:]: name for name, words in WORDS.items() if name not in ("bfloat16", "int8")}
UNMARKED = {"u2": "uint16, which may be bfloat16", "i1": "int8, which may be float8"}


def index(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """The tensors of a state dict (the format has no metadata). CheckpointError for anything else."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            state = parse(file, size, {*ARRAY, *BUFFER, NDARRAY, DTYPE, ENCODE})
    except PickleRefusedError as error:
        raise CheckpointError(f"{path}: {error}") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: holds a {type(state).__name__}, not a state dict of names and arrays")
    return {name: _tensor(path, name, value) for name, value in state.items() if name != NAME_TABLE}, {}


def _tensor(path: Path, name: str, value: Any) -> StoredTensor:
    """The array that the recorded calls describe, once its bytes are known to be as many as its shape needs."""
    try:
        code, shape, fortran, data = _array(value)
        offset, length, text = _place(data)
        sound = all(type(number) is int and number >= 0 for number in shape)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise CheckpointError(f"{path}: {name} is not a plain little-endian array")
    if code not in DTYPES:
        raise CheckpointError(f"{path}: {name} is stored as {UNMARKED.get(code, code)}; save it again as float32")
    tensor = StoredTensor(path, offset, DTYPES[code], shape, _fortran_strides(shape) if fortran else None, text)
    if not text and length != tensor.nbytes:
        raise CheckpointError(
            f"{path}: {name}: {length} bytes, but shape {shape} of {tensor.dtype} takes {tensor.nbytes}"
        )
    return tensor


def _array(value: Call) -> tuple[str, tuple[int, ...], bool, Any]:
    """(element code, shape, Fortran order?, data) of an array as numpy pickles it, up to protocol 4 or in 5."""
    if value.function in BUFFER:
        data, dtype, shape, order = value.arguments
        return _code(dtype), tuple(shape), order == "F", data
    if value.function not in ARRAY or value.arguments[0] != NDARRAY:
        raise ValueError("no array")
    _, shape, dtype, fortran, data = value.state
    return _code(dtype), tuple(shape), fortran, data


def _code(dtype: Call) -> str:
    """numpy's letter and size, such as f4; ValueError for structured, object and big-endian types."""
    order, *details = dtype.state[1:]
    code = dtype.arguments[0]
    if dtype.function != DTYPE or not isinstance(code, str) or order not in "<|" or details[:3] != [None, None, None]:
        raise ValueError("no plain dtype")
    return code


def _place(data: Any) -> tuple[int, int, int]:
    """Offset and length of the array's bytes, and the length again where they are hidden in text."""
    if isinstance(data, Span):
        return *data, 0
    text = data.arguments[0]
    where = text.span if isinstance(text, Text) else text
    return *where, where.length


def _fortran_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[:axis]) for axis in range(len(shape)))


def write(
    path: Path,
    tensors: Mapping[str, tuple[str, tuple[int, ...]]],
    arrays: Iterable[tuple[str, np.ndarray]],
    metadata: Mapping[str, str],
) -> None:
    """Write the `arrays`, described by name → (dtype, shape), as a pickle (protocol 4) that paddle.load reads.

    The format has no place for `metadata`. The data reaches the disk before this returns. Raises CheckpointError for
    types that the format cannot mark.
    """
    unmarkable = [f"{name} ({dtype})" for name, (dtype, _) in tensors.items() if dtype not in DTYPES.values()]
    if unmarkable:
        raise CheckpointError(f"{path}: .pdparams cannot mark the type of {', '.join(unmarkable)}; use --dtype float32")
    with path.open("wb") as file:
        file.write(pickle.PROTO + b"\x04" + pickle.EMPTY_DICT + pickle.MARK)
        for name, array in arrays:
            file.write(_piece(name))
            _write_array(file, array)
        file.write(_piece(NAME_TABLE) + _piece({name: name for name in tensors}) + pickle.SETITEMS + pickle.STOP)
        file.flush()
        os.fsync(file.fileno())


def _write_array(file: BinaryIO, array: np.ndarray) -> None:
    """The instructions by which numpy pickles an array in C order, with its bytes streamed instead of copied."""
    file.write(b"cnumpy.core.multiarray\n_reconstruct\n" + pickle.MARK + b"cnumpy\nndarray\n")  # known to every numpy
    file.write(_piece((0,)) + _piece("b") + pickle.TUPLE + pickle.REDUCE)
    file.write(pickle.MARK + _piece(1) + _piece(array.shape) + _piece(array.dtype) + pickle.NEWFALSE)
    file.write(pickle.BINBYTES8 + struct.pack("<Q", array.nbytes))
    file.write(as_bytes(array))
    file.write(pickle.TUPLE + pickle.BUILD)


def _piece(value: Any) -> bytes:
    """The instructions that put one small value on the pickle machine's stack."""
    return pickle.dumps(value, protocol=2)[2:-1]  # between PROTO and STOP
