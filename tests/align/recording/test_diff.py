"""`align diff` on files of arrays, beside the real reprod_log: right where that errs, the same where it is right."""

import json
import logging
import re
import zipfile

import numpy as np
import pytest
from numpy import nan

from align.__main__ import main
from align.recording.reprod import write_pair
from tests.align.commands import refused

ONES = np.ones((2, 3), np.float32)
SQUARE = np.arange(9, dtype=np.float32).reshape(3, 3)


def near(array, error=1e-7):
    return array + np.float32(error)


def put(array, index, value):
    changed = array.copy()
    changed[index] = value
    return changed


# What is wrong: expected, actual, what reprod_log makes of it, and what ours must say.
WRONG = {
    "mean too large": ({"a": ONES}, {"a": near(ONES, 1e-3)}, "fails", "mean difference 1.00e-03, allowed 1.00e-06"),
    "NaN in the port": ({"a": ONES}, {"a": put(ONES, (1, 2), nan)}, "passes", "finite on one side only"),
    "NaN in the reference": ({"a": put(ONES, (0, 0), nan)}, {"a": ONES}, "passes", "finite on one side only"),
    "all NaN": ({"a": ONES * nan}, {"a": ONES * nan}, "passes", "proves nothing"),
    "broadcast": ({"a": ONES}, {"a": ONES[:, :1]}, "passes", "expected shape (2, 3), actual (2, 1)"),
    "a scalar": ({"a": ONES}, {"a": np.array(1.0)}, "passes", "expected shape (2, 3), actual ()"),
    "transposed": ({"a": SQUARE[:2]}, {"a": SQUARE[:2].T}, "passes", "it is the transpose of what is expected"),
    "transposed square": ({"a": SQUARE}, {"a": SQUARE.T}, "fails", "it is the transpose of what is expected"),
    "bool": ({"a": np.array([True, False])}, {"a": np.array([True, True])}, "raises", "bool values differ"),
    "bytes that wrap": ({"a": np.array([0], np.uint8)}, {"a": np.array([255], np.uint8)}, "fails", "uint8 values"),
    "float for int": ({"a": np.arange(3)}, {"a": np.arange(3.0)}, "passes", "expected int64, actual float64"),
    "one label of many": (
        {"a": np.zeros(2_000_000, np.int64)}, {"a": np.eye(1, 2_000_000, 7, np.int64)[0]}, "passes", "(7,)"
    ),
    "missing": ({"a": ONES, "b": ONES}, {"a": ONES}, "raises", "b: the actual file lacks it"),
    "unexpected": ({"a": ONES}, {"a": ONES, "b": ONES}, "raises", "b: only the actual file has it"),
    "missing inside": ({"a": {"x": ONES}}, {"a": {"y": ONES}}, "raises", "a/x: the actual file lacks it"),
}  # fmt: skip
RIGHT = {
    "rounding": ({"a": ONES, "b": SQUARE}, {"a": near(ONES), "b": SQUARE}, "passes"),
    "bools that agree": ({"a": np.array([True, False])}, {"a": np.array([True, False])}, "raises"),
    "infinity on both sides": ({"a": put(ONES, 0, np.inf)}, {"a": put(ONES, 0, np.inf)}, "passes"),
    "another width": ({"a": ONES}, {"a": ONES.astype(np.float64)}, "passes"),
    "inside": ({"a": {"x": ONES, "y": {"z": SQUARE}}}, {"a": {"x": near(ONES), "y": {"z": SQUARE}}}, "passes"),
}


@pytest.fixture
def files(tmp_path):
    def write(expected, actual):
        paths = [tmp_path / "expected.npy", tmp_path / "actual.npy"]
        for path, arrays in zip(paths, (expected, actual), strict=True):
            np.save(path, arrays, allow_pickle=True)
        return [str(path) for path in paths]

    return write


def their_verdict(expected, actual):
    reprod_log = pytest.importorskip("reprod_log")
    helper = reprod_log.ReprodDiffHelper()
    try:
        with np.errstate(all="ignore"):
            helper.compare_info(*(helper.load_info(path) for path in (expected, actual)))
            passed = reprod_log.utils.check_print_diff(helper.diff_dict, print_func=lambda line: None)
    except (AssertionError, TypeError, ValueError):
        return "raises"
    return "passes" if passed else "fails"


@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_and_where(files, capsys, case):
    expected, actual, theirs, said = WRONG[case]
    paths = files(expected, actual)
    assert main(["diff", *paths]) == 1
    out = capsys.readouterr().out
    assert said in out
    assert "DIFFERENT: " in out
    assert their_verdict(*paths) == theirs


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", RIGHT)
def test_what_is_right_passes(files, capsys, case):
    expected, actual, theirs = RIGHT[case]
    paths = files(expected, actual)
    assert main(["diff", *paths, "--quiet"]) == 0
    assert capsys.readouterr().out.startswith("SAME: ")
    assert their_verdict(*paths) == theirs


def test_tolerances_hold_for_each_element(files, capsys):
    large = np.array([1.0, 1e6])
    paths = files({"a": large}, {"a": large + np.array([0.0, 1.0])})
    assert main(["diff", *paths, "--atol", "1e-6", "--rtol", "1e-5"]) == 0
    assert main(["diff", *paths, "--rtol", "1e-7"]) == 1
    assert "difference 1.00e+00 at (1,), allowed 1.00e-01 there" in capsys.readouterr().out
    paths = files({"a": large}, {"a": large + np.array([1e-3, 0.0])})
    assert main(["diff", *paths, "--atol", "1e-6", "--rtol", "1e-5"]) == 1
    assert main(["diff", *paths, "--atol", "1e-2", "--mean-atol", "1e-4"]) == 1  # what is named, all of it
    assert main(["diff", *paths, "--atol", "1e-2"]) == 0
    assert main(["diff", *files({"a": np.zeros(3)}, {"a": np.zeros(3)}), "--atol", "0"]) == 0


def test_json_says_what_the_verdict_says(files, tmp_path):
    paths = files({"a": ONES, "b": ONES}, {"a": near(ONES), "b": near(ONES, 1.0)})
    assert main(["diff", *paths, "--quiet", "--json", str(tmp_path / "d.json")]) == 1
    report = json.loads((tmp_path / "d.json").read_text())
    assert (report["schema"], report["passed"], report["case"]["tolerance"]) == (1, False, {"mean_atol": 1e-6})
    rows = {row["name"]: row for row in report["stages"][0]["diffs"]}
    assert (rows["a"]["status"], rows["b"]["status"]) == ("ok", "mismatch")
    assert rows["b"]["ratio"] == pytest.approx(1e6, rel=1e-3)


@pytest.mark.parametrize("error", [1e-7, 1e-3])
def test_the_log_is_what_reprod_log_writes(tmp_path, error):
    """Line by line, but for the time; the numbers are in double precision here."""
    reprod_log = pytest.importorskip("reprod_log")
    write_pair(tmp_path, "loss", {"a": ONES, "b": SQUARE}, {"a": near(ONES, error), "b": SQUARE})
    helper, root = reprod_log.ReprodDiffHelper(), logging.getLogger("root")
    before, level = list(root.handlers), root.level
    helper.compare_info(*(helper.load_info(str(tmp_path / f"loss_{side}.npy")) for side in ("torch", "paddle")))
    helper.report(path=str(tmp_path / "theirs.log"))
    for handler in set(root.handlers) - set(before):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    ours, theirs = ((tmp_path / name).read_text().splitlines() for name in ("loss_diff.log", "theirs.log"))
    assert [shape_of(line) for line in ours] == [shape_of(line) for line in theirs]
    for one, other in zip(ours, theirs, strict=True):
        if "value" in one:
            assert float(one.split()[-1]) == pytest.approx(float(other.split()[-1]), rel=1e-3)


def shape_of(line):
    stamp = re.match(r"\[\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\] ", line)
    assert stamp, line
    return line[stamp.end() :].partition("value: ")[0]


def test_other_files_of_arrays_are_read_too(tmp_path, capsys):
    from align.record import write_record

    np.savez(tmp_path / "a.npz", x=ONES, y=SQUARE)
    write_record(tmp_path / "a.rec", {"x": near(ONES), "y": SQUARE})
    np.save(tmp_path / "a.npy", ONES)
    np.save(tmp_path / "b.npy", near(ONES))
    assert main(["diff", str(tmp_path / "a.npz"), str(tmp_path / "a.rec")]) == 0
    assert main(["diff", str(tmp_path / "a.npy"), str(tmp_path / "b.npy")]) == 0


def npy_header(text):
    return b"\x93NUMPY\x01\x00\x76\x00" + text.ljust(118)


UNCLOSED = npy_header(b"{'descr': (")
HUGE = npy_header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}")


@pytest.mark.parametrize(("name", "content"), [("notes.txt", b"no array"), ("x.npy", UNCLOSED), ("x.npy", HUGE)])
def test_an_archive_of_other_things_is_refused(tmp_path, capsys, name, content):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, content)
    assert "not a whole .npz file of plain arrays" in refused(capsys, "diff", *[str(tmp_path / "a.zip")] * 2)


def record_of(dtype, shape, offset=0):
    """A record of 16 bytes with one array in its index."""
    index = json.dumps({"a": {"offset": offset, "dtype": dtype, "shape": shape, "facts": {}}})
    return bytes(16) + index.encode() + (16).to_bytes(8, "little") + b"plumbrec"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"a": "text"}, "a is a text, not an array"),
        ({"a": [1, 2]}, "a is a list, not an array"),
        ({"a": np.ones(2, complex)}, "c16"),
        ({"a": np.array(["x"])}, "not a plain little-endian array"),
        ({}, "holds no array"),
        ([ONES], "(1, 2, 3)"),
        (np.array([{}, {}]), "array of objects of shape (2,)"),
        ({"a/b": ONES, "a": {"b": ONES}}, "a/b stands twice"),
        (b"", "is no .npy or .npz file"),
        (b"\x93NUMPY\x01\x00", "not a whole .npy file"),
        (b"PK\x03\x04 and so on, and so on", "not a whole .npz file"),
        (b"{}" + (0).to_bytes(8, "little") + b"plumbrec", "holds no array"),
        (b"[" + (0).to_bytes(8, "little") + b"plumbrec", "not a whole record"),
        (UNCLOSED, "not a whole .npy file"),
        (HUGE, "not a whole .npy file"),
        (record_of("<U2", [2]), "a holds <U2, and only numbers and truth values can be compared"),
        (record_of("O", [2]), "not a whole record"),
        (record_of("<f4", [5]), "not a whole record"),
        (record_of("<f4", [2.0]), "not a whole record"),
        (record_of("<f4", [2], 1.5), "not a whole record"),
        (record_of("<f4", [0, 10**30]), "not a whole record"),
        (record_of("(<f4", [2]), "not a whole record"),
    ],
    ids=str,
)
def test_what_cannot_be_compared_is_refused_in_one_line(tmp_path, capsys, content, said):
    path = tmp_path / "bad.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    np.save(tmp_path / "good.npy", {"a": ONES}, allow_pickle=True)
    if said == "(1, 2, 3)":  # a list of arrays is one array
        assert main(["diff", str(tmp_path / "good.npy"), str(path)]) == 1
    else:
        assert said in refused(capsys, "diff", str(tmp_path / "good.npy"), str(path))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/nowhere.npy", "/nowhere.npy"], "/nowhere.npy: cannot be read: No such file"),
        (["/tmp", "/tmp"], "/tmp: cannot be read"),
        (["a"], "ACTUAL"),
        (["a", "b", "--atol", "-1"], "'-1' is not a limit"),
        (["a", "b", "--atol", "inf"], "'inf' is not a limit"),
        (["a", "b", "--json", "/nowhere/d.json"], "make it first"),
        (["a", "b", "--log", "/nowhere/d.log"], "make it first"),
        (["a", "b", "--log", "/tmp"], "--log /tmp: this is a folder, name a file"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(capsys, arguments, said):
    assert said in refused(capsys, "diff", *arguments)


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        main(["diff", "--help"])
    out = capsys.readouterr().out
    assert "examples:" in out
    assert "exit code: 0 they agree" in out
