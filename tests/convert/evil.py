"""Pickles that would run code, or take all memory, if any reader believed them; and the files that carry them."""

import collections
import os
import pickle
import subprocess
import zipfile

import numpy as np

OLD_START = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}]


class Evil:
    """Asks the reader to run something when it is unpickled."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def objects(marker):
    """Objects that create the file `marker` when they are unpickled, and what they ask for."""
    touch = f"open({str(marker)!r}, 'w').close()"
    nested = Evil(collections.OrderedDict, [["weight", Evil(eval, touch)]])
    return {
        "system": ({"weight": Evil(os.system, f"touch {marker}")}, "posix.system"),
        "eval": ({"weight": Evil(eval, touch)}, r"(builtins|__builtin__).eval"),
        "popen": ({"weight": Evil(subprocess.call, ["touch", str(marker)])}, r"(subprocess|commands).call"),
        "open": ({"weight": Evil(open, str(marker), "w")}, r"(io|__builtin__).open"),
        "nested": ({"outer": [nested]}, r"(builtins|__builtin__).eval"),
        "top": (Evil(exec, touch), r"(builtins|__builtin__).exec"),
        "key": ({Evil(eval, touch): 1}, r"(builtins|__builtin__).eval"),
        "getattr": ({"weight": Evil(getattr, Evil(__import__, "os"), "system")}, r"(builtins|__builtin__).getattr"),
    }


def text(value):
    data = value.encode()
    return b"X" + len(data).to_bytes(4, "little") + data


SYSTEM = text("touch MARKER")
KNOWN = b"ccollections\nOrderedDict\n"  # a global that every reader knows
TWICE = b")q\x00" + b"h\x00h\x00\x86q\x00" * 60  # a tuple of 2⁶⁰ empty ones: printing or hashing it would not end

# Instructions by hand → what the message must name. MARKER is replaced by the file that must not appear.
CRAFTED = {
    "GLOBAL": (b"cos\nsystem\n" + SYSTEM + b"\x85R", r"os\.system"),
    "INST": (b"(" + SYSTEM + b"ios\nsystem\n", r"os\.system"),
    "INST of a known class": (b"(icollections\nOrderedDict\n", "instruction INST"),
    "OBJ": (b"(cos\nsystem\n" + SYSTEM + b"o", r"os\.system"),
    "OBJ of a known class": (b"(" + KNOWN + b"o", "instruction OBJ"),
    "NEWOBJ": (KNOWN + b")\x81", "instruction NEWOBJ"),
    "NEWOBJ_EX": (KNOWN + b")}\x92", "instruction NEWOBJ_EX"),
    "STACK_GLOBAL": (text("os") + text("system") + b"\x93" + SYSTEM + b"\x85R", r"os\.system"),
    "STACK_GLOBAL from the memo": (
        text("system") + b"q\x01" + text("os") + b"q\x02\x86h\x02h\x01\x93" + SYSTEM + b"\x85R",
        r"os\.system",
    ),
    "STACK_GLOBAL of a path": (text("collections") + text("OrderedDict.__init__") + b"\x93", "OrderedDict.__init__"),
    "STACK_GLOBAL of bytes": (b"C\x02osC\x06system\x93", "a global whose name is no text"),
    "STACK_GLOBAL of a bomb": (TWICE + b"h\x00\x93", "a global whose name is no text"),
    "EXT1": (b"\x82\x01", "instruction EXT1"),
    "EXT2": (b"\x83\x01\x00", "instruction EXT2"),
    "EXT4": (b"\x84\x01\x00\x00\x00", "instruction EXT4"),
    "PERSID": (b"Pos.system\n", "instruction PERSID"),
    "no instruction": (b"\xf7", "instruction 0xf7"),
    "BUILD on a function": (KNOWN + b"}" + text("__code__") + text("x") + b"sb", "attributes on a Global"),
    "BUILD on a text": (text("weight") + b"}b", "attributes on a Text"),
    "call of a text": (text("os.system") + SYSTEM + b"\x85R", "no global name"),
    "call of a call's result": (KNOWN + b")R" + SYSTEM + b"\x85R", "no global name"),
    "call with no tuple": (KNOWN + b"]R", "no global name"),
    "pairs that are none": (KNOWN + text("ab") + b"\x85R", "other than pairs"),
    "a bomb as a key": (b"}" + TWICE + b"K\x01s", "a key that is no text"),
    "a name twice": (b"}(" + text("a") + b"K\x01" + text("a") + b"K\x02u", "a name stands twice"),
}

MANY = 2_200_000
BOMBS = {
    "marks": b"(" * MANY,
    "texts": text("é" * 2000) * (MANY // 100),
    "a list recalled": b"](" + (text("a") + b"N\x86") * 300_000 + b"e\x94" + (KNOWN + b"h\x00\x85R") * 300_000,
}


def zipped(path, data):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)


def legacy(path, data):
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in OLD_START) + data + pickle.dumps([], 2))


def npy(path, data):
    """A pickle in the place where numpy.save puts that of an object."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"shape": (), "fortran_order": False, "descr": "|O"})
        file.write(data)


def plain(path, data):
    path.write_bytes(data)
