"""TF bundles: what TensorFlow wrote is read to the bit, what we write is read by both, and damage is refused."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import crc32c
import numpy as np
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convert import CheckpointError, open_checkpoint
from convert.formats import leveldb_table, snappy, tf_bundle
from convert.formats.protobuf import field, fields, fixed32, number
from convert.formats.stored import WORDS
from tests.convert.drawn import write_drawn

DATA = Path(__file__).parent / "data/tf"
SAVER = DATA / "saver/model.ckpt-12345.index"


def load_make():
    spec = importlib.util.spec_from_file_location("make", DATA / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKE = load_make()


def same(tensor, expected, dtype):
    """The stored tensor is `expected`, whole numbers, in type `dtype`."""
    assert (tensor.dtype, tensor.shape) == (dtype, expected.shape)
    words = tensor.read()
    assert words.dtype == WORDS[dtype]
    if dtype == "bfloat16":
        words = (words.astype(np.uint32) << 16).view(np.float32)
    assert (words == (expected != 0 if dtype == "bool" else expected)).all()


def test_what_a_saver_wrote_over_several_files_is_read_exactly():
    tensors, metadata = tf_bundle.index(SAVER)
    expected = {}
    for at, name in enumerate(MAKE.TYPES):
        expected[f"types/{name}"] = (MAKE.values(at, (2, at + 1)), name)
    for at, (name, shape) in enumerate(MAKE.SHAPES.items()):
        expected[f"shapes/{name}"] = (MAKE.values(at, shape), "float32")
    for at, (name, (shape, dtype, *_)) in enumerate(MAKE.PARTITIONED.items()):
        expected[f"parts/{name}"] = (MAKE.values(at, shape), dtype)
    expected["global_step"] = (np.array(12345), "int64")
    assert set(tensors) == set(expected)
    for name, (values, dtype) in expected.items():
        same(tensors[name], values, dtype)
    assert metadata == {}
    assert len({tensor.path for tensor in tensors.values()}) > 2


def test_a_partitioned_variable_lies_in_all_files_of_its_parts(tmp_path):
    names = tf_bundle.data_names("x", 2)
    keys = [slice_key(*place).encode("latin1") for place in (((0, 3),), ((3, 1),))]
    parts = [entry(sizes=(3,), size=12), entry(sizes=(1,), size=4, shard=1)]
    whole = entry(sizes=(4,), size=0, extra=extents(((0, 3),), ((3, 1),)))
    table = {b"": field(1, 2), b"w": whole} | dict(zip(keys, parts, strict=True))
    (tmp_path / "x.index").write_bytes(leveldb_table.write(table, {}))
    for name in names:
        (tmp_path / name).write_bytes(bytes(12))
    tensor = tf_bundle.index(tmp_path / "x.index")[0]["w"]
    assert [path.name for path in tensor.paths] == names
    assert tensor.read().tolist() == [0] * 4


def test_an_object_based_checkpoint_is_read_without_its_graph():
    tensors, _ = tf_bundle.index(DATA / "objects/ckpt-1.index")
    end = ".ATTRIBUTES/VARIABLE_VALUE"
    same(tensors[f"layer/kernel/{end}"], MAKE.values(0, (3, 4)), "float32")
    same(tensors[f"layer/bias/{end}"], MAKE.values(1, (4,)), "float32")
    assert set(tensors) == {f"layer/kernel/{end}", f"layer/bias/{end}", f"save_counter/{end}"}


def copy(tmp_path, source=SAVER):
    for path in source.parent.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / source.name


def refused(index, told):
    with pytest.raises(CheckpointError, match=told) as caught:
        tf_bundle.index(index)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["types/float32", "types/bool", "parts/rows", "parts/far", "shapes/deep"])
def test_a_changed_byte_of_data_is_found_when_the_tensor_is_read(tmp_path, name):
    index = copy(tmp_path)
    tensor = tf_bundle.index(index)[0][name]
    part = tensor.parts[1][1] if isinstance(tensor, tf_bundle.PartitionedTensor) else tensor
    content = bytearray(part.path.read_bytes())
    content[part.offset + part.nbytes - 1] ^= 4
    part.path.write_bytes(content)
    tensors, _ = tf_bundle.index(index)
    with pytest.raises(CheckpointError, match="does not match its checksum"):
        tensors[name].read()
    assert tensors["global_step"].read() == 12345


def test_a_changed_byte_of_data_stops_a_stream_before_it_starts(tmp_path):
    values = np.arange(400_000, dtype=np.float32)  # of several blocks
    write_drawn(tmp_path, tf_bundle.draw([{"x": ("float32", values.shape)}], {}), {"x": values})
    data = tmp_path / "model.ckpt.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[-1] ^= 1
    data.write_bytes(content)
    tensor = tf_bundle.index(tmp_path / "model.ckpt.index")[0]["x"]
    with pytest.raises(CheckpointError, match="checksum"), tensor.opened():
        raise AssertionError("nothing may be handed out")


def test_a_damaged_or_truncated_index_is_refused(tmp_path):
    index = copy(tmp_path)
    whole = index.read_bytes()
    for at in range(0, len(whole), 7):
        index.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        try:
            tf_bundle.index(index)
        except CheckpointError:
            continue
        assert len(whole) - 40 <= at < len(whole) - 8  # the footer's padding says nothing
    for size in (0, 7, 47, 100, len(whole) - 1):
        index.write_bytes(whole[:size])
        refused(index, "truncated|magic")
    index.write_bytes(whole[:500] + whole[600:])
    refused(index, "checksum|past the end")


def test_missing_and_truncated_data_files_are_named(tmp_path):
    index = copy(tmp_path)
    data = tmp_path / "model.ckpt-12345.data-00002-of-00004"
    content = data.read_bytes()
    data.write_bytes(content[:-1])
    refused(index, r"are not in model\.ckpt-12345\.data-00002-of-00004: truncated")
    data.unlink()
    refused(index, "data-00002-of-00004 is not beside it")


def entry(dtype=1, sizes=(2,), shard=0, offset=0, size=8, checksum=0, extra=b""):
    """A BundleEntryProto; all of its data is zero."""
    shape = b"".join(field(2, field(1, size)) for size in sizes)
    checksum = checksum or leveldb_table.mask(crc32c.crc32c(bytes(size)) if size < 1000 else 0)
    numbers = field(3, shard) + field(4, offset) + field(5, size)
    return field(1, dtype) + field(2, shape) + numbers + fixed32(6, checksum) + extra


def bundle(folder, entries, header=None, size=64):
    """A bundle of these raw entries, with one data file of `size` zeros."""
    header = field(1, 1) if header is None else header
    table = leveldb_table.write({b"": header} | {key.encode(): value for key, value in entries.items()}, {})
    (folder / "x.index").write_bytes(table)
    (folder / "x.data-00000-of-00001").write_bytes(bytes(size))
    return folder / "x.index"


HUGE = 1 << 62


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"a": entry(), "b": entry(offset=4)}, "overlaps the tensor before it, which ends at byte 8"),
        ({"a": entry(offset=60)}, "8 bytes at 60 are not in"),
        ({"a": entry(offset=HUGE)}, f"8 bytes at {HUGE} are not in"),
        ({"a": entry(shard=1)}, "data file 1 of 1"),
        ({"a": entry(size=12)}, r"12 bytes, but shape \(2,\) of float32"),
        ({"a": entry(sizes=(HUGE, 4), size=0)}, "takes other than that"),
        ({"a": entry(sizes=((1 << 64) - 1,))}, "takes other than that"),
        ({"a": entry(dtype=7)}, "data type 7 is no weight's"),
        ({"a": entry(dtype=99)}, "data type 99"),
        ({"a": entry(extra=field(2, field(3, 1)))}, "unknown shape"),
        ({"a": field(1, b"text")}, "a text where a number belongs"),
        ({"a": field(2, 5)}, "a number where a message belongs"),
        ({"a": b"\x0a\x05ab"}, "cut off"),
        ({"a": b"\xff" * 11}, "cut off or too long"),
        ({"a": entry(), "\0stray": entry(offset=8)}, "1 slices belong to no tensor"),
    ],
)
def test_entries_that_cannot_be_are_refused(tmp_path, entries, told):
    refused(bundle(tmp_path, entries), told)


def extents(*places):
    """The slices of an entry, each of (start, length) along every axis; no length is all of it."""
    slices = (b"".join(field(1, field(1, a) + (field(2, n) if n else b"")) for a, n in place) for place in places)
    return b"".join(field(7, each) for each in slices)


def slice_key(*place):
    return tf_bundle._slice_key(b"w", tuple((start, length or None) for start, length in place)).decode("latin1")


def sliced(folder, places, sizes=(4,), stored=None):
    """A bundle with one tensor of slices, of which those in `stored` are there."""
    shapes = {place: [length or size for (_, length), size in zip(place, sizes, strict=True)] for place in places}
    whole = {"w": entry(sizes=sizes, size=0, extra=extents(*places))}
    parts, offset = {}, 0
    for place in places if stored is None else stored:
        count = 4 * int(np.prod(shapes[place]))
        parts[slice_key(*place)] = entry(sizes=shapes[place], offset=offset, size=count)
        offset += count
    entries = {b"": field(1, 1), b"w": whole["w"]} | {key.encode("latin1"): value for key, value in parts.items()}
    (folder / "x.index").write_bytes(leveldb_table.write(entries, {}))
    (folder / "x.data-00000-of-00001").write_bytes(bytes(64))
    return folder / "x.index"


def test_slices_must_fill_their_tensor_once(tmp_path):
    tensor = tf_bundle.index(sliced(tmp_path, [((0, 3),), ((3, 1),)]))[0]["w"]
    assert tensor.read().tolist() == [0] * 4
    assert tf_bundle.index(sliced(tmp_path, [((0, 0), (0, 1)), ((0, 0), (1, 2))], (2, 3)))[0]["w"].shape == (2, 3)
    refused(sliced(tmp_path, [((0, 3),), ((2, 2),)]), "do not fill")
    refused(sliced(tmp_path, [((0, 3),)]), "do not fill")
    refused(sliced(tmp_path, [((0, 3),), ((0, 3),)]), "do not fill")
    refused(sliced(tmp_path, [((0, 3),), ((3, 2),)]), "does not fit shape")
    refused(sliced(tmp_path, [((0, 3),), ((3, 1),)], stored=[((0, 3),)]), "is missing")
    refused(bundle(tmp_path, {"w": entry(extra=extents(((0, 1), (0, 1))))}), "does not fit shape")
    refused(bundle(tmp_path, {"w": entry(extra=extents(*[((0, 1),)] * 1001))}), "1001 slices, more than 1000")


@pytest.mark.parametrize(
    ("header", "told"), [(b"", "no header"), (field(1, 1) + field(2, 1), "big-endian"), (field(1, HUGE), "no header")]
)
def test_a_header_that_cannot_be_is_refused(tmp_path, header, told):
    refused(bundle(tmp_path, {"a": entry()}, header), told)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=40), st.integers(0, 39), st.integers(0, 255))
def test_whatever_an_entry_says_is_read_or_refused(tmp_path, raw, at, byte):
    sound = bytearray(entry(extra=extents(((0, 1),))))
    sound[at % len(sound)] = byte
    for value in (raw, bytes(sound)):
        try:
            for tensor in tf_bundle.index(bundle(tmp_path, {"a": value}))[0].values():
                tensor.read()
        except CheckpointError:
            continue


def test_keys_out_of_order_and_unknown_compression_are_refused():
    body = b"".join(number(0) + number(1) + number(1) + key + b"v" for key in (b"b", b"a")) + bytes(4) + b"\1\0\0\0"
    with pytest.raises(ValueError, match=r"keys are not in order: b'a' stands after b'b'"):
        leveldb_table.read(raw_table(body, leveldb_table.PLAIN))
    with pytest.raises(ValueError, match="compressed in the unknown way 4"):
        leveldb_table.read(raw_table(body, 4))


def raw_table(body, kind):
    """A table with this one block."""

    def block(content, kind=leveldb_table.PLAIN):
        content += bytes([kind])
        return content + leveldb_table.mask(crc32c.crc32c(content)).to_bytes(4, "little")

    data, empty = block(body, kind), block(bytes(4) + b"\1\0\0\0")
    handle = number(0) + number(len(body))
    places = number(0) + number(1) + number(len(handle)) + b"z" + handle + bytes(4) + b"\1\0\0\0"
    footer = number(len(data)) + number(8) + number(len(data) + len(empty)) + number(len(places))
    return data + empty + block(places) + footer.ljust(40, b"\0") + leveldb_table.MAGIC


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.binary(max_size=30), st.binary(max_size=3000), max_size=80), st.integers(0, 3))
def test_a_table_of_any_keys_is_read_as_written(entries, prefix):
    entries = {b"common" * prefix + key: value for key, value in entries.items()}
    table = leveldb_table.write(entries, {b"meta": b"data"})
    found, meta = leveldb_table.read(table)
    assert found == entries
    assert list(found) == sorted(entries)
    assert meta == {b"meta": b"data"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([b"abc", b"\0" * 70, b"weights/", bytes(range(256)) * 20]), max_size=40).map(b"".join))
def test_snappy_is_decoded_as_its_authors_library_encodes_it(plain):
    packed = pyarrow.compress(plain, codec="snappy", asbytes=True)
    assert snappy.decode(packed, 1 << 20) == plain
    body = number(0) + number(1) + number(len(plain)) + b"k" + plain + bytes(4) + b"\1\0\0\0"
    table = raw_table(pyarrow.compress(body, codec="snappy", asbytes=True), leveldb_table.SNAPPY)
    assert leveldb_table.read(table)[0] == {b"k": plain}


@pytest.mark.parametrize(
    ("packed", "told"),
    [
        (b"\xff\xff\xff\x7f", "more than 100"),
        (b"\x05\x08abc", "other than the 5 bytes"),
        (b"\x04\x01\x00", "copies from 0 bytes back"),
        (b"\x04\x00a\x01\x02", "copies from 2 bytes back, where there are 1"),
        (b"\x04\x00a\x02", "copies from 0"),
    ],
)
def test_bad_snappy_is_refused(packed, told):
    with pytest.raises(ValueError, match=told):
        snappy.decode(packed, 100)


def states():
    """A tensor of every type, none of them with a size in common, in three shards."""
    made = {}
    for at, (dtype, words) in enumerate(WORDS.items()):
        values = MAKE.values(at, (at + 1, 3)) % 2 if dtype == "bool" else MAKE.values(at, (at + 1, 3))
        made[f"types/{dtype}"] = (dtype, values.astype(words))
    made |= {"scalar": ("float32", np.array(2.5, np.float32)), "empty": ("int8", np.zeros((0, 3), np.int8))}
    names = list(made)
    return [{name: made[name] for name in names[at::3]} for at in range(3)]


def write(folder, shards, metadata=None):
    described = [{name: (dtype, array.shape) for name, (dtype, array) in shard.items()} for shard in shards]
    arrays = {name: array for shard in shards for name, (_, array) in shard.items()}
    write_drawn(folder, tf_bundle.draw(described, metadata or {}), arrays)
    return arrays


def test_what_we_write_we_read(tmp_path):
    arrays = write(tmp_path, states(), {"plumbline_layout": "bert4keras", "producer": "plumbline"})
    tensors, metadata = tf_bundle.index(tmp_path / "model.ckpt.index")
    assert metadata == {"plumbline_layout": "bert4keras", "producer": "plumbline"}
    assert set(tensors) == set(arrays)
    for name, array in arrays.items():
        assert tensors[name].read().tobytes() == array.tobytes()
        assert tensors[name].shape == array.shape
    assert len({tensor.path.name for tensor in tensors.values()}) == 3


def test_an_index_of_many_names_takes_several_blocks(tmp_path):
    shards = [
        {f"encoder/layer_{at}/output/dense/kernel": ("int8", np.array([at % 100], np.int8)) for at in range(4000)}
    ]
    arrays = write(tmp_path, shards)
    tensors, _ = tf_bundle.index(tmp_path / "model.ckpt.index")
    assert {name: tensor.read()[0] for name, tensor in tensors.items()} == {name: a[0] for name, a in arrays.items()}
    table = (tmp_path / "model.ckpt.index").read_bytes()
    assert len(table) > 2 * leveldb_table.BLOCK
    assert table.count(b"encoder/layer_") < len(arrays) / 10  # names share their beginnings


READ = """
import json, sys
import tensorflow as tf
reader = tf.train.load_checkpoint(sys.argv[1])
def known(name):
    tensor = reader.get_tensor(name)
    return [str(tensor.dtype), list(tensor.shape), tensor.tobytes().hex()]
print(json.dumps({name: known(name) for name in reader.get_variable_to_shape_map()}))
"""


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="asks TensorFlow, which is not installed")
def test_tensorflow_reads_what_we_write(tmp_path):
    arrays = write(tmp_path, states(), {"plumbline_layout": "tf"})
    done = subprocess.run([sys.executable, "-c", READ, str(tmp_path)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert {name: (tuple(shape), data) for name, (_, shape, data) in found.items()} == {
        name: (array.shape, array.tobytes().hex()) for name, array in arrays.items()
    }
    assert all(dtype == name.removeprefix("types/") for name, (dtype, *_) in found.items() if name.startswith("types/"))


def test_numbers_in_slice_keys_sort_as_they_do():
    values = [-(10**12), -8193, -65, -64, -1, 0, 1, 63, 64, 8191, 8192, 2**31, 2**55, 2**62]
    codes = [tf_bundle._signed(value) for value in values]
    assert codes == sorted(codes)
    assert tf_bundle._signed(-1) == b"\x7f"
    assert tf_bundle._signed(64) == b"\xc0\x40"


def test_a_message_s_fields_come_back():
    message = field(1, 300) + field(2, b"text") + fixed32(3, 7) + number(4 << 3 | 1) + bytes(8)
    assert list(fields(message)) == [(1, 300), (2, b"text"), (3, 7), (4, 0)]
    with pytest.raises(ValueError, match="unknown kind 3"):
        list(fields(number(1 << 3 | 3)))


def folder_of(tmp_path, *stems):
    config = json.dumps({"architectures": []})
    (tmp_path / "config.json").write_text(config)
    for stem in stems:
        for path in (DATA / "objects").glob("ckpt-1.*"):
            shutil.copy(path, tmp_path / path.name.replace("ckpt-1", stem))
    return tmp_path


def test_the_bundle_of_a_folder_is_its_only_one_or_the_one_that_is_named(tmp_path):
    folder = folder_of(tmp_path, "model.ckpt-9")
    assert open_checkpoint(folder).weights == folder / "model.ckpt-9.index"
    assert open_checkpoint(folder).layout == "tf"
    assert open_checkpoint(folder, "bert4keras").layout == "bert4keras"
    folder_of(tmp_path, "model.ckpt-10")
    with pytest.raises(CheckpointError, match=r"holds model\.ckpt-10, model\.ckpt-9; give the path of one of them"):
        open_checkpoint(folder)
    assert open_checkpoint(folder / "model.ckpt-10").weights.name == "model.ckpt-10.index"
    assert open_checkpoint(folder / "model.ckpt-10.index").weights.name == "model.ckpt-10.index"
    for said, chosen in (('"model.ckpt-9"', 9), (f'"{folder}/elsewhere/model.ckpt-10"', 10)):
        (folder / "checkpoint").write_text(f'all_model_checkpoint_paths: "x"\nmodel_checkpoint_path: {said}\n')
        assert open_checkpoint(folder).weights.name == f"model.ckpt-{chosen}.index"
    (folder / "checkpoint").write_text('model_checkpoint_path: "gone"\n')
    with pytest.raises(CheckpointError, match="give the path of one of them"):
        open_checkpoint(folder)


def test_a_bundle_that_nothing_describes_needs_a_config(tmp_path):
    folder = folder_of(tmp_path, "ckpt")
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no config\.json, and its tensors do not tell"):
        open_checkpoint(folder)
