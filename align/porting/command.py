"""`python -m align new NAME --from FILE.py[:Class]`: the files of a new architecture."""

import argparse
import os
import pkgutil
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import convert
import fake_data
from align import registry
from align.client import WorkerClient
from align.errors import CannotCompareError
from align.files import write_all
from align.foreign.batches import make_batch
from align.foreign.options import kind_of
from align.porting import house, tables
from align.porting.source import TorchFile, TorchModule, check_name
from align.porting.translate import Draft, translate
from align.record import write_record

_DEFAULT = "ports"


@dataclass(frozen=True)
class Written:
    """The files by their paths, and the draft among them."""

    texts: Mapping[Path, str]
    draft: Draft
    module: TorchModule
    task: str
    tensors: int


def run(options: argparse.Namespace) -> list[str]:
    """Write the files; the lines to print.

    Raises:
        CannotCompareError: what was given cannot be read, run or written; then nothing has been written.
    """
    folder = options.into or Path(os.environ.get("PLUMBLINE_PORTS", _DEFAULT))
    name, path = options.name, Path(options.source)
    check_name(name)
    chosen = None
    if not path.is_file() and ":" in path.name:
        text, _, chosen = str(path).rpartition(":")
        path = Path(text)
    module = TorchFile(path).choose(chosen)
    paths = _paths(folder, name)
    _check_free(name, paths, options.force)
    made = _make(module, name, options.task, paths, options.torch_python)
    write_all(made.texts)
    return list(_lines(made, name, folder, paths))


def _paths(folder: Path, name: str) -> dict[str, Path]:
    return {
        "torch": folder / "models_torch" / f"{name}.py",
        "paddle": folder / "models_paddle" / f"{name}.py",
        "layout": folder / "convert" / "layouts" / f"{name}.py",
        "spec": folder / "fake_data" / f"{name}.py",
        "test": folder / "tests" / "models" / f"test_{name}.py",
    }


def _check_free(name: str, paths: Mapping[str, Path], force: bool) -> None:
    """Raise CannotCompareError where the name is taken, or where files would be lost."""
    there = [path for path in paths.values() if path.exists()]
    elsewhere = {*registry.names(), *(module.name for module in pkgutil.iter_modules(fake_data.__path__))}
    elsewhere |= {*convert.names()}
    if there and not force:
        raise CannotCompareError(f"{there[0]} is there: name another architecture, or overwrite it with --force")
    if name in elsewhere and not there:
        raise CannotCompareError(f"the name {name!r} is taken (`python -m align list`): choose another")


def _make(module: TorchModule, name: str, task: str | None, paths: Mapping[str, Path], python: str | None) -> Written:
    words = house.tiny(module)
    batch = _batch(module, words)
    title = module.name
    with tempfile.TemporaryDirectory(prefix="plumbline-") as temporary, WorkerClient("torch", python) as torch:
        own = {module.roles[role]: value for role, value in batch.items()}
        ask: dict[str, Any] = {"words": words, "batch": str(write_record(Path(temporary) / "own.rec", own))}
        seen = torch.submit(
            "porting.look", path=str(module.file.path.resolve()), name=module.name, config=module.config, **ask
        ).result()
        if not seen["outputs"]:
            raise CannotCompareError(f"{module.where}: its forward returns no tensor, but a {seen['returns']}")
        sizes = {kind.name: words[word] for word in words if (kind := kind_of(word))}
        told, output = house.task_of(seen["outputs"], sizes, batch["input_ids"].shape)
        task = task or told
        names = house.names_of(module, name, task)
        text = house.torch_text(module, name, task, names, seen["ways"][output])
        (made := Path(temporary) / f"{name}.py").write_text(text, encoding="utf-8")
        batch = {"attention_mask": _all_ones(batch), **batch}
        ask["batch"] = str(write_record(Path(temporary) / "batch.rec", batch))
        facts = torch.submit("porting.look", path=str(made), name=names.task_class, config=names.config, **ask).result()
    tables.check_tensors(facts, module.where)
    draft = translate(text)
    logits = None if task == "backbone" else facts["outputs"]["logits"][-1]
    texts = {
        "torch": text,
        "paddle": draft.text,
        "layout": tables.layout_text(title, facts),
        "spec": tables.spec_text(title, module, task, facts, logits),
        "test": tables.test_text(title, name, task),
    }
    return Written({paths[kind]: text for kind, text in texts.items()}, draft, module, task, len(facts["shapes"]))


def _batch(module: TorchModule, words: Mapping[str, Any]) -> dict[str, Any]:
    """A batch by role; the sizes are the tiny configuration's."""
    known = [{"name": role, "required": False} for role in module.roles if role != "labels"]
    config = {word.name: word.default for word in module.options if not word.required} | dict(words)
    return make_batch(known, known, config)


def _all_ones(batch: Mapping[str, Any]) -> Any:
    return batch["input_ids"] * 0 + 1


def _lines(made: Written, name: str, folder: Path, paths: Mapping[str, Path]) -> Any:
    count = len(made.draft.todos)
    rest = f"a draft: {count} line{'s' if count != 1 else ''} to write" if count else "a draft: every call has a rule"
    about = {
        "torch": f"{made.module.where} and, at its end, what the registry asks for: {made.task}",
        "paddle": rest,
        "layout": f"the weight table: {made.tensors} tensors",
        "spec": "fake data: fields of a batch, scales of the weights",
        "test": "one test for each stage",
    }
    width = max(len(str(path)) for path in paths.values())
    for kind, path in paths.items():
        yield f"{path!s:<{width}}  {about[kind]}"
        if kind == "paddle":
            for todo in made.draft.todos:
                yield f"  line {todo.line}: {todo.text}"
                yield f"    {todo.why}"
    home = Path(os.environ.get("PLUMBLINE_PORTS", _DEFAULT)).absolute()
    own = Path(registry.__file__).resolve().parent.parent
    prefix = (
        "" if folder.absolute() == home or folder.resolve() == own else f"PLUMBLINE_PORTS={shlex.quote(str(folder))} "
    )
    yield f"next: {prefix}python -m align step1 --model {name}"
