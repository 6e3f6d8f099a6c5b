"""The pickle of a state dict in a file of torch.save: what it says of each tensor, and how to say it.

Facts: torch/_utils.py (the functions that rebuild a tensor) and torch/serialization.py (persistent ids) of torch 2.13.
"""

import math
import pickle
from typing import Any, BinaryIO, NamedTuple

from convert.formats.blueprint import Tensors
from convert.formats.pickled import DICTIONARY, Call, Global, Persistent, PickleRefusedError, instructions, parse
from convert.formats.stored import WORDS, plausible

KINDS = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
}
# Old files that were saved on a GPU name the storages of torch.cuda.
STORAGES = {Global(home, f"{kind}Storage"): KINDS[kind] for kind in KINDS for home in ("torch", "torch.cuda")}
OWN_STORAGES = {dtype: Global("torch", f"{kind}Storage") for kind, dtype in KINDS.items()}
UNTYPED = Global("torch.storage", "UntypedStorage")  # counts bytes; types newer than it have no storage of their own
TYPES = {Global("torch", dtype): dtype for dtype in WORDS}

FIRST = Global("torch._utils", "_rebuild_tensor")  # (storage, offset, shape, strides)
SECOND = Global("torch._utils", "_rebuild_tensor_v2")  # the same, requires_grad, hooks[, metadata]
THIRD = Global("torch._utils", "_rebuild_tensor_v3")  # the same, requires_grad, hooks, dtype[, metadata]
PARAMETERS = {Global("torch._utils", f"_rebuild_parameter{state}") for state in ("", "_with_state")}
ALLOWED = {FIRST, SECOND, THIRD, UNTYPED, *PARAMETERS, *STORAGES, *TYPES}


class View(NamedTuple):
    """A tensor as the pickle describes it: `shape` and `strides` from element `start` of the storage `key`.

    The storage has `room` elements of `unit` bytes.
    """

    key: str
    unit: int
    room: int
    dtype: str
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_views(file: BinaryIO, size: int) -> dict[str, View]:
    """Name → tensor of the state dict that is pickled next in `file`. PickleRefusedError for anything else."""
    state = parse(file, size, ALLOWED, persistent=True)
    if not isinstance(state, dict):
        raise PickleRefusedError(f"holds a {type(state).__name__}, not a state dict of names and tensors")
    return {name: _view(name, value) for name, value in state.items()}


def _view(name: str, value: Any) -> View:
    try:
        if value.function in PARAMETERS:
            value = value.arguments[0]
        view = _described(value)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        view = None
    if view is None:
        raise PickleRefusedError(f"{name} is not a tensor of a plain state dict")
    return view


def _described(value: Call) -> View | None:
    """The tensor that a recorded call would build; None or some error for what is no plain tensor."""
    storage, start, shape, strides, *more = value.arguments
    kind, storage_type, key, _, count, *part = storage.reference
    named = more.pop(2) if value.function == THIRD else storage_type
    if not isinstance(storage, Persistent) or not isinstance(storage_type, Global) or not isinstance(named, Global):
        return None
    unit = 1 if storage_type == UNTYPED else WORDS[STORAGES[storage_type]].itemsize
    dtype = TYPES[named] if value.function == THIRD else STORAGES[named]
    if any(part):  # in a legacy file a storage may be a part of another one: (its key, first element, elements)
        first = part[0][1]
        if not plausible((), first) or storage_type == UNTYPED:
            return None
        start += first
    sound = value.function in (FIRST, SECOND, THIRD) and value.state is None and kind == "storage"
    sound &= not any(more[2:])  # a mark that the values are to be negated or conjugated
    sound &= isinstance(key, str) and isinstance(strides, tuple) and len(shape) == len(strides)
    sound = sound and plausible(shape, start, count) and plausible(strides)
    return View(key, unit, count, dtype, start, shape, strides) if sound else None


def pickled_state(tensors: Tensors) -> bytes:
    """The pickle of a state dict, each of whose `tensors` has a storage of its own: 0, 1, 2 … in their order."""
    items = (_tensor(name, str(key), dtype, shape) for key, (name, (dtype, shape)) in enumerate(tensors.items()))
    return b"".join((pickle.PROTO, b"\2", pickle.EMPTY_DICT, pickle.MARK, *items, pickle.SETITEMS, pickle.STOP))


def _tensor(name: str, key: str, dtype: str, shape: tuple[int, ...]) -> bytes:
    own, size = OWN_STORAGES.get(dtype), math.prod(shape)
    count = size if own else size * WORDS[dtype].itemsize
    storage = _tuple(instructions("storage"), _global(own or UNTYPED), *map(instructions, (key, "cpu", count)))
    strides = tuple(math.prod(max(size, 1) for size in shape[axis + 1 :]) for axis in range(len(shape)))
    view = (storage + pickle.BINPERSID, *map(instructions, (0, shape, strides, False)))  # it requires no gradient
    hooks = _global(DICTIONARY) + pickle.EMPTY_TUPLE + pickle.REDUCE
    arguments = _tuple(*view, hooks) if own else _tuple(*view, hooks, _global(Global("torch", dtype)))
    return instructions(name) + _global(SECOND if own else THIRD) + arguments + pickle.REDUCE


def _tuple(*items: bytes) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE


def _global(name: Global) -> bytes:
    return pickle.GLOBAL + f"{name.module}\n{name.name}\n".encode()
