"""What torch.save wrote before 1.6, and writes with _use_new_zipfile_serialization=False.

Five pickles (a magic number, a version, facts about the machine, the state dict, the keys of its storages), and then
each storage: how many elements it has in 8 bytes, and the elements. Source: torch/serialization.py of torch 2.13.
"""

from typing import BinaryIO

from convert.formats.pickled import PickleRefusedError, parse
from convert.formats.torch_state import View, read_views
from convert.formats.torch_zip import Record

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001


def read(file: BinaryIO, size: int) -> tuple[dict[str, View], dict[str, Record]]:
    """The tensors of the state dict, and where each storage lies. PickleRefusedError for anything else."""
    _check_start(file, size)
    views = read_views(file, size)
    keys = parse(file, size, ())
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise PickleRefusedError("malformed: no list of storages follows the state dict")
    storages: dict[str, Record] = {}
    shapes = {view.key: (view.unit, view.room) for view in views.values()}
    for key in keys:
        if key not in shapes or key in storages:
            raise PickleRefusedError(f"malformed: storage {key} belongs to no tensor, or stands twice")
        storages[key] = _storage(file, size, key, *shapes[key])
    if file.tell() != size:
        raise PickleRefusedError(f"trailing bytes: the storages end at byte {file.tell()} of {size}")
    return views, storages


def _check_start(file: BinaryIO, size: int) -> None:
    try:
        magic = parse(file, size, ())
    except PickleRefusedError:
        magic = None
    if magic != MAGIC:
        raise PickleRefusedError("not a file of torch.save: neither a zip archive nor its older form")
    version, machine = parse(file, size, ()), parse(file, size, ())
    if version != VERSION:
        raise PickleRefusedError("written in a version of torch.save's older form that is not known")
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise PickleRefusedError("written on a big-endian machine")


def _storage(file: BinaryIO, size: int, key: str, unit: int, count: int) -> Record:
    stored = int.from_bytes(file.read(8), "little")
    record = Record(file.tell(), count * unit)
    if stored != count or record.offset + record.size > size:
        raise PickleRefusedError(f"truncated, or malformed: storage {key} has {stored} elements, not {count}")
    file.seek(record.size, 1)
    return record
