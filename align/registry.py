"""Which architectures there are: the file stems of `models_torch`, with the tasks and variants their files declare.

That package reaches into the folder `ports` of the current directory, or the one that PLUMBLINE_PORTS names, as do the
other three that an architecture has a file in: so architectures may live outside of this repository.

The tables are read from the source with `ast`, so that listing them imports no framework and works where one is
missing.
"""

import ast
import difflib
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from align.errors import CannotCompareError


@dataclass(frozen=True)
class Architecture:
    """One registered architecture: `tasks` maps a task to its class name, `variants` a name to configuration
    overrides.
    """

    name: str
    summary: str
    tasks: Mapping[str, str]
    variants: Mapping[str, Mapping[str, Any]]

    def task_of(self, class_names: Iterable[str]) -> str | None:
        """The task whose class a checkpoint's `architectures` names, if any."""
        by_class = {class_name: task for task, class_name in self.tasks.items()}
        return next((by_class[name] for name in class_names if name in by_class), None)


@cache
def names() -> tuple[str, ...]:
    """The registered architectures, sorted."""
    return tuple(sorted({path.stem for folder in _folders("torch") for path in folder.glob("[!_]*.py")}))


@cache
def architecture(name: str) -> Architecture:
    """Look an architecture up by name.

    Raises:
        CannotCompareError: no such architecture; the message names the nearest.
    """
    known(name, names(), "model")
    tree = ast.parse(source(name, "torch"))
    summary = (ast.get_docstring(tree) or "").partition("\n")[0].partition(", in PyTorch")[0]
    return Architecture(name, summary, _literal(tree, "TASKS"), _literal(tree, "VARIANTS"))


def source(name: str, side: str) -> str:
    """The text of one of the two model files of a registered architecture."""
    found = (folder / f"{name}.py" for folder in _folders(side))
    return next(path for path in found if path.is_file()).read_text(encoding="utf-8")


def _folders(side: str) -> list[Path]:
    """Where the model files of "torch" or "paddle" are: ours, and the user's own."""
    return [Path(folder) for folder in importlib.import_module(f"models_{side}").__path__]


def known(name: str, choices: Iterable[str], what: str) -> str:
    """Return `name` if it is one of `choices`, else raise with the nearest of them."""
    choices = list(choices)
    if name in choices:
        return name
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(choices)}"
    raise CannotCompareError(f"unknown {what} {name!r}: {hint} (`python -m align list` shows all)")


def _literal(tree: ast.Module, target: str) -> dict[str, Any]:
    for node in tree.body:
        names_here = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        if any(isinstance(n, ast.Name) and n.id == target for n in names_here):
            return ast.literal_eval(node.value)  # type: ignore[attr-defined]
    raise ValueError(f"no table {target} in the model file")
