"""The floors of the house: who may import whom, and what every architecture must bring."""

import ast
import dataclasses
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from align import registry

ROOT = Path(__file__).resolve().parent.parent
OURS = {"models_torch", "models_paddle", "fake_data", "convert", "align", "recipes", "bench"}
FRAMEWORKS = {"torch", "paddle", "paddlenlp", "transformers", "tensorflow"}

# What a folder may import beside the standard library and itself.
MAY_IMPORT = {
    "models_torch": {"torch"},
    "models_paddle": {"paddle"},
    "fake_data": {"numpy", "tokenizers"},
    "convert": {"numpy", "rich", "crc32c", "isal"},
    "align": {"numpy", "rich", "scipy", "sklearn", "seqeval", "jinja2", "markupsafe", "convert", "fake_data"},
}


def exceptions(path):
    """A file of `align` or `convert` may import the framework that it is named after, the selftest's bugs both."""
    if path.parent == ROOT / "align/backends":
        return {path.stem}
    if path.is_relative_to(ROOT / "align/selftest"):
        return {"torch", "paddle"}
    named = any(path.is_relative_to(ROOT / folder) for folder in ("align", "convert"))
    return {path.stem} & FRAMEWORKS if named else set()


def files(folder):
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path):
    """The top-level packages that a file imports anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_floors(folder):
    assert files(folder)
    for path in files(folder):
        allowed = MAY_IMPORT[folder] | exceptions(path) | (set() if folder.startswith("models_") else {folder})
        beyond = {name for name in imported(path) if name not in sys.stdlib_module_names} - allowed
        assert not beyond, f"{path.relative_to(ROOT)} imports {sorted(beyond)}"


@pytest.mark.parametrize(
    "package", ["fake_data", "convert", "align", "align.__main__", "convert.__main__", "align.worker", "align.selftest"]
)
def test_importing_reaches_no_framework(package):
    code = f"import {package}, sys; print(sorted({FRAMEWORKS} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_packages_are_all_listed_for_installation():
    import tomllib

    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for folder in MAY_IMPORT
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert listed == found


@pytest.mark.parametrize("name", registry.names())
def test_an_architecture_is_four_files_that_agree(name):
    for folder in ("models_torch", "models_paddle", "fake_data", "convert/layouts"):
        assert (ROOT / folder / f"{name}.py").is_file()
    torch_side = importlib.import_module(f"models_torch.{name}")
    paddle_side = importlib.import_module(f"models_paddle.{name}")
    assert torch_side.TASKS == paddle_side.TASKS == registry.architecture(name).tasks
    assert torch_side.VARIANTS == paddle_side.VARIANTS == registry.architecture(name).variants
    assert next(iter(torch_side.VARIANTS)) == "tiny"
    assert public_classes(torch_side) == public_classes(paddle_side)
    fields = [{f.name: f.default for f in dataclasses.fields(config_of(m))} for m in (torch_side, paddle_side)]
    assert fields[0] == fields[1]


def public_classes(module):
    return sorted(
        name for name, value in vars(module).items() if isinstance(value, type) and value.__module__ == module.__name__
    )


def config_of(module):
    return next(v for k, v in vars(module).items() if k.endswith("Config") and dataclasses.is_dataclass(v))


def test_files_stay_readable():
    """About 400 lines. An architecture is the exception: all of its heads stand in one file, to be lifted out whole."""
    for folder in (*MAY_IMPORT, "tests", "bench"):
        limit = 770 if folder.startswith("models_") else 460
        for path in files(folder):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert lines <= limit, f"{path} has {lines} lines: is there a second room?"
