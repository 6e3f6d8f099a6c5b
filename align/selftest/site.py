"""Where bugs can stand: what a kind of bug looks at to find its places in a model that it does not know."""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import FrameType
from typing import Any

from align import registry
from align.case import make_batch, resolve, without_labels
from align.edges import ROOT, module_of
from align.sinks import Passage

CONTAINERS = ("Sequential", "ModuleList", "ModuleDict")
REGRESSION = ("sequence_classification", {"num_labels": 1})

Given = frozenset[tuple[str, Any]]


@dataclass(frozen=True)
class Site:
    """One task's model, unharmed. Everything in it is the reference's, whose names the port shares.

    `config` is the whole configuration; `kinds` are the modules in the model's order, each with its torch class and
    hyper-parameters (`{"class": "LayerNorm", "eps": 1e-12}`), the model itself first as "<root>"; `shapes` those of
    the parameters in the torch layout, tied names included; `tied` a name and the one that owns its tensor;
    `trainable` the names that take a gradient.

    `side` is the framework that the bug is put into. `runs` are the modules and the functions of the file (by their
    qualified names) that run there without labels, `runs_for_loss` those that run with them. `given` are the options
    that differ from the tiny variant's.
    """

    model: str
    task: str
    side: str
    config: Mapping[str, Any]
    kinds: Mapping[str, Mapping[str, Any]]
    shapes: Mapping[str, tuple[int, ...]]
    tied: Mapping[str, str]
    trainable: frozenset[str]
    runs: frozenset[str]
    runs_for_loss: frozenset[str]
    given: Mapping[str, Any]

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks of the architecture, the default first."""
        return tuple(registry.architecture(self.model).tasks)

    def at(self, task: str, **given: Any) -> "Site":
        """The same architecture with the head of another task, and other options if some are given."""
        return survey(self.model, self.side, task, frozenset(given.items()))

    def everywhere(self) -> Iterator["Site"]:
        """The architecture with each of its heads, the default first, then a regression."""
        yield from map(self.at, self.tasks)
        if REGRESSION[0] in self.tasks:
            yield self.at(REGRESSION[0], **REGRESSION[1])

    def of_class(self, *classes: str) -> list[str]:
        """The modules of these classes, in the model's order."""
        return [name for name, facts in self.kinds.items() if facts["class"] in classes]

    def children(self, module: str) -> list[str]:
        """The modules directly inside `module`."""
        prefix = "" if module == ROOT else f"{module}."
        return [n for n in self.kinds if n != ROOT and n.startswith(prefix) and "." not in n.removeprefix(prefix)]

    def parameters(self, module: str) -> list[str]:
        """The parameters that `module` itself holds."""
        return [name for name in self.shapes if (name.rpartition(".")[0] or ROOT) == module]

    def middles(self) -> dict[str, str]:
        """One module for each class, from the middle layer."""
        return _middle_of_each((facts["class"], name) for name, facts in self.kinds.items())

    def roles(self, *classes: str) -> dict[str, str]:
        """One module for each part that modules of these classes play in the architecture, from the middle layer.

        A part is what encloses them and the name there: "ElectraSelfAttention.query".
        """
        return _middle_of_each((self._role(name), name) for name in self.of_class(*classes))

    def _role(self, module: str) -> str:
        enclosing, _, name = module.rpartition(".")
        while (facts := self.kinds[enclosing or ROOT])["class"] in CONTAINERS:
            enclosing, _, part = enclosing.rpartition(".")
            name = name if part.isdigit() else f"{part}.{name}"
        return f"{facts['class']}.{name}"


def _middle_of_each(pairs: Iterator[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for key, name in pairs:
        found.setdefault(key, []).append(name)
    return {key: names[(len(names) - 1) // 2] for key, names in found.items()}


@cache
def survey(model: str, side: str, task: str | None = None, given: Given = frozenset()) -> Site:
    """Build the tiny variant of an architecture in this process, on both sides, describe it, and see what runs.

    Raises:
        CannotCompareError: an unknown name, or options that the architecture refuses.
    """
    from align.session import Session

    case = resolve(model, task)
    ask = case.model, case.task_class, {**case.raw_config, **dict(given)}
    description = Session("torch").build(*ask)
    session = Session(side)
    session.build(*ask)
    batch = make_batch(case, description["config"])
    return Site(
        model=model,
        task=case.task,
        side=side,
        config=description["config"],
        kinds=description["kinds"],
        shapes={name: tuple(shape) for name, shape in description["shapes"].items()},
        tied=description["tied"],
        trainable=frozenset(name for name, trained in description["trainable"].items() if trained),
        runs=_heard(session, without_labels(case, batch)),
        runs_for_loss=_heard(session, batch),
        given=dict(given),
    )


def _heard(session: Any, batch: Mapping[str, Any]) -> frozenset[str]:
    """The modules and the functions of the model file that run on this batch."""
    from align.capture import run

    heard, package = _Heard(), session.backend.models
    sys.setprofile(_notes_code(heard.names, package))
    try:
        run(session.backend, session.model, batch, heard)
    finally:
        sys.setprofile(None)
    return frozenset(heard.names)


class _Heard:
    """A sink that notes which modules run."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def pass_edge(self, passage: Passage) -> None:
        self.names.add(module_of(passage.edge))


def _notes_code(names: set[str], package: str) -> Callable[[FrameType, str, Any], None]:
    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_globals.get("__name__", "").startswith(f"{package}."):
            names.add(frame.f_code.co_qualname)

    return note
