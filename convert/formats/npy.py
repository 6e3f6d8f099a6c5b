"""What numpy.save writes: one array, or a pickled dictionary of name → array, as reprod_log keeps what it has logged.

Read without unpickling: numpy's own reconstruction of arrays and of single numbers is recognised, not run, and any
other global name is refused. The names of dictionaries inside a dictionary are joined by a slash.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as numpy_format

from convert.errors import CheckpointError
from convert.formats import pdparams
from convert.formats.pickled import Call, Global, PickleRefusedError, parse

MAGIC = b"\x93NUMPY"
ALONE = "array"  # the name of an array that was saved without one
SCALAR = {Global(f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")}
ALLOWED = {*pdparams.ALLOWED, *SCALAR}
DTYPES = pdparams.DTYPES | {"u2": "uint16", "i1": "int8"}  # in these files they are what they seem

# What numpy raises on a header that is damaged: it reads these as Python literals.
DAMAGED = (ValueError, TypeError, IndexError, OverflowError, SyntaxError, TokenError, RecursionError)

_HEADERS = {(1, 0): numpy_format.read_array_header_1_0, (2, 0): numpy_format.read_array_header_2_0}
_OBJECT = ("O8", "O")  # element codes of an array of objects


def read(path: Path) -> dict[str, np.ndarray]:
    """All arrays of a file by name; single numbers are arrays without dimensions.

    Raises CheckpointError, in one line, for a file that cannot be read, asks for anything to be run, or holds anything
    other than numbers and truth values.
    """
    try:
        with path.open("rb") as file:
            return _unique(path, _entries(path, file))
    except CheckpointError:
        raise
    except PickleRefusedError as error:
        raise CheckpointError(f"{path}: {str(error).replace('state dict', 'file of arrays')}") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (*DAMAGED, EOFError, MemoryError) as error:
        raise CheckpointError(f"{path}: not a whole .npy file: {error}") from None


def _unique(path: Path, entries: Iterator[tuple[str, np.ndarray]]) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for name, array in entries:
        if name in found:
            raise CheckpointError(f"{path}: {name} stands twice, once as the name in a dictionary of its own")
        found[name] = array
    return found


def _entries(path: Path, file: BinaryIO) -> Iterator[tuple[str, np.ndarray]]:
    if file.read(len(MAGIC)) != MAGIC:
        raise CheckpointError(f"{path}: not an .npy file")
    file.seek(0)
    version = numpy_format.read_magic(file)
    if version not in _HEADERS:
        raise CheckpointError(f"{path}: .npy of version {version}, which only arrays of records need")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        if shape != ():
            raise CheckpointError(f"{path}: an array of objects of shape {shape}, not a dictionary of arrays")
        yield from _flat(path, "", _content(path, file))
    else:
        file.seek(0)
        yield ALONE, numbers(path, ALONE, numpy_format.read_array(file, allow_pickle=False))


def _content(path: Path, file: BinaryIO) -> dict[str, Any]:
    """The dictionary inside the pickled array without dimensions."""
    outer = parse(file, path.stat().st_size, ALLOWED)
    try:
        code, (content,) = outer.state[2].arguments[0], outer.state[4]
        sound = outer.function in pdparams.ARRAY and outer.state[1] == () and code in _OBJECT
    except (AttributeError, IndexError, TypeError, ValueError):
        sound = False
    if not sound or not isinstance(content, dict):
        raise CheckpointError(f"{path}: not a dictionary of names and arrays, as reprod_log saves it")
    return content


def _flat(path: Path, prefix: str, content: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _flat(path, f"{name}/", value)
        elif isinstance(value, (bool, int, float)):
            yield name, numbers(path, name, np.array(value))
        elif isinstance(value, Call):
            yield name, pdparams.tensor(path, name, _as_array(value), DTYPES).read()
        else:
            raise CheckpointError(f"{path}: {name} is a {type(value).__name__.lower()}, not an array")


def _as_array(value: Call) -> Call:
    """A single number of numpy's as the array without dimensions that it could as well have been."""
    if value.function not in SCALAR:
        return value
    dtype, data = value.arguments
    return Call(next(iter(pdparams.ARRAY)), (pdparams.NDARRAY,), (1, (), dtype, False, data))


def numbers(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    """The array, if it holds what can be compared; CheckpointError for text, complex numbers, dates and the like."""
    if array.dtype.kind not in "biuf":
        raise CheckpointError(f"{path}: {name} holds {array.dtype}, and only numbers and truth values can be compared")
    return array
