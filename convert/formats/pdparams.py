"""What paddle.save writes for a state dict: a pickled dict of name → numpy array, with a table of internal names.

Read without paddle and without unpickling: numpy's own reconstruction is recognised, not run. bfloat16 stands in these
files as unmarked uint16 and float8 as int8, so neither is guessed at.
"""

import math
import pickle
import struct
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from convert.errors import CheckpointError
from convert.formats import shards
from convert.formats.blueprint import Blueprint, Tensors, nbytes, shard_index, shard_names
from convert.formats.pickled import Call, Global, PickleRefusedError, Span, Text, instructions, parse
from convert.formats.stored import WORDS, StoredTensor, plausible

NAME_TABLE = "StructuredToParameterName@@"
ARRAY = {Global(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}
BUFFER = {Global(f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")}  # pickle protocol 5
NDARRAY = Global("numpy", "ndarray")
DTYPE = Global("numpy", "dtype")
ENCODE = Global("_codecs", "encode")  # pickle protocol 2 has no bytes: they are text, encoded as Latin-1
EMPTY = Global("__builtin__", "bytes")  # and no empty ones either: they are bytes()
ALLOWED = {*ARRAY, *BUFFER, NDARRAY, DTYPE, ENCODE, EMPTY}
AMBIGUOUS = {"u2": ("bfloat16", "uint16"), "i1": ("int8", "float8_e4m3fn", "float8_e5m2")}  # what paddle writes so
UNMARKED = {dtype for names in AMBIGUOUS.values() for dtype in names}
DTYPES = {words.str[1:]: dtype for dtype, words in WORDS.items() if dtype not in UNMARKED}
WRITABLE = set(DTYPES.values()) - {"uint32", "uint64"}  # paddle.load refuses these


def index(path: Path, stored_as: str = "") -> shards.Index:
    """The tensors of a state dict (the format has no metadata). CheckpointError for anything else.

    `stored_as` names what the file does not mark, such as "bfloat16" or "bfloat16,float8_e4m3fn".
    """
    size, types = path.stat().st_size, DTYPES | _named(stored_as)
    try:
        with path.open("rb") as file:
            state = parse(file, size, ALLOWED)
    except PickleRefusedError as error:
        raise CheckpointError(f"{path}: {error}") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: holds a {type(state).__name__}, not a state dict of names and arrays")
    return {name: tensor(path, name, value, types) for name, value in state.items() if name != NAME_TABLE}, {}


def index_shards(path: Path, stored_as: str = "") -> shards.Index:
    """The tensors of all shards that model_state.pdparams.index.json names."""
    return shards.read(path, partial(index, stored_as=stored_as))


def _named(stored_as: str) -> dict[str, str]:
    """Which of our types each ambiguous element code is to be."""
    codes = {dtype: code for code, names in AMBIGUOUS.items() for dtype in names}
    names = stored_as.split(",") if stored_as else []
    unknown = [name for name in names if name not in codes]
    if unknown:
        raise CheckpointError(f"--stored-as {unknown[0]}: not one of {', '.join(codes)}")
    types = {codes[name]: name for name in names}
    if len(types) < len(names):
        raise CheckpointError(f"--stored-as {stored_as}: names one kind of element twice")
    return types


def tensor(path: Path, name: str, value: Any, types: Mapping[str, str]) -> StoredTensor:
    """The array that the recorded calls describe, once its bytes are known to be as many as its shape needs."""
    try:
        code, shape, fortran, data = _array(value)
        offset, length, text = _place(data)
        sound = plausible(shape, offset, length, text) and isinstance(code, str) and isinstance(fortran, bool)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise CheckpointError(f"{path}: {name} is not a plain little-endian array")
    if code in AMBIGUOUS and code not in types:
        words, options = np.dtype(code).name, " or ".join(f"--stored-as {dtype}" for dtype in AMBIGUOUS[code])
        raise CheckpointError(f"{path}: {name}: {words} may stand for another type in this file; say {options}")
    if code not in types:
        raise CheckpointError(f"{path}: {name} is stored as {code[:20]}, which no checkpoint needs")
    tensor = StoredTensor(path, offset, types[code], shape, _fortran_strides(shape) if fortran else None, text)
    if not (tensor.nbytes <= length <= 2 * tensor.nbytes if text else length == tensor.nbytes):
        raise CheckpointError(
            f"{path}: {name}: {length} bytes, but shape {shape} of {tensor.dtype} takes {tensor.nbytes}"
        )
    return tensor


def _array(value: Call) -> tuple[str, tuple[int, ...], bool, Any]:
    """(element code, shape, Fortran order?, data) of an array as numpy pickles it, up to protocol 4 or in 5."""
    if value.function in BUFFER:
        data, dtype, shape, order = value.arguments
        return _code(dtype), shape, order == "F", data
    if value.function not in ARRAY or value.arguments[0] != NDARRAY:
        raise ValueError("no array")
    _, shape, dtype, fortran, data = value.state
    return _code(dtype), shape, fortran, data


def _code(dtype: Call) -> str:
    """numpy's letter and size, such as f4; ValueError for structured, object and big-endian types."""
    order, *details = dtype.state[1:]
    if dtype.function != DTYPE or order not in ("<", "|") or details != [None, None, None, -1, -1, 0]:
        raise ValueError("no plain dtype")
    return dtype.arguments[0]


def _place(data: Any) -> tuple[int, int, int]:
    """Offset and length of the array's bytes, and the length again where they are hidden in text."""
    if isinstance(data, Span):
        return *data, 0
    if data.function == EMPTY and not data.arguments:
        return 0, 0, 0
    text, encoding = data.arguments
    if data.function != ENCODE or encoding != "latin1":
        raise ValueError("no bytes")
    where = text.span if isinstance(text, Text) else text
    return *where, where.length


def _fortran_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[:axis]) for axis in range(len(shape)))


def draw(parts: Sequence[Tensors], metadata: Mapping[str, str]) -> list[Blueprint]:
    """model_state.pdparams, or its shards and their index: pickles (protocol 4) that paddle.load reads.

    The format has no place for `metadata`. Raises CheckpointError for types that it cannot mark.
    """
    described = {name: dtype for tensors in parts for name, (dtype, _) in tensors.items()}
    unmarkable = [f"{name} ({dtype})" for name, dtype in described.items() if dtype not in WRITABLE]
    if unmarkable:
        widen = "; use --dtype float32" if any("float" in dtype for dtype in described.values()) else ""
        raise CheckpointError(f".pdparams cannot mark the type of {', '.join(unmarkable)}{widen}")
    files = dict(zip(shard_names("model_state", ".pdparams", len(parts)), parts, strict=True))
    drawn = [_file(name, tensors) for name, tensors in files.items()]
    return drawn if len(parts) == 1 else [*drawn, shard_index("model_state.pdparams.index.json", files)]


def _file(name: str, tensors: Tensors) -> Blueprint:
    pieces: list[bytes | str] = [pickle.PROTO + b"\x04" + pickle.EMPTY_DICT + pickle.MARK]
    for tensor, (dtype, shape) in tensors.items():
        pieces += [instructions(tensor) + _opening(dtype, shape), tensor, pickle.TUPLE + pickle.BUILD]
    table = instructions(NAME_TABLE) + instructions({tensor: tensor for tensor in tensors})
    return Blueprint(name, (*pieces, table + pickle.SETITEMS + pickle.STOP))


def _opening(dtype: str, shape: tuple[int, ...]) -> bytes:
    """The instructions by which numpy pickles an array in C order, up to its bytes."""
    made = b"cnumpy.core.multiarray\n_reconstruct\n" + pickle.MARK + b"cnumpy\nndarray\n"  # known to every numpy
    made += instructions((0,)) + instructions("b") + pickle.TUPLE + pickle.REDUCE
    made += pickle.MARK + instructions(1) + instructions(shape) + instructions(WORDS[dtype]) + pickle.NEWFALSE
    return made + pickle.BINBYTES8 + struct.pack("<Q", nbytes(dtype, shape))
