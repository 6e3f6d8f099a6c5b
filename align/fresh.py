"""The parameters of several fresh builds of both sides, in one layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

import convert
from align.case import Case
from align.errors import CannotCompareError
from align.record import Record
from align.trial import Pair

# What is drawn of each side: so many values in all, in at least two builds, which tell a constant from a draw.
VALUES, FEWEST, MOST = 2**26, 2, 64


@dataclass(frozen=True)
class Builds:
    """One side's fresh models, each parameter under its name and in its layout of the torch side.

    `records` hold a build each; `facts` are what `Session.describe_parameters` says of them.
    """

    side: str
    records: Sequence[Record]
    facts: Mapping[str, Any]
    rules: Mapping[str, convert.Keep]

    @property
    def names(self) -> Sequence[str]:
        """All names of the state dict, tied ones too."""
        return list(self.facts["shapes"])

    def owner(self, name: str) -> str:
        """The first name of the tensor that stands under `name`."""
        return self.facts["tied"].get(name, name)

    def values(self, name: str) -> list[np.ndarray]:
        """The parameter in each build; an array of at least one axis."""
        held = self.owner(name)
        rule = self.rules.get(held, convert.Keep())
        return [np.atleast_1d(rule.view(record[held])) for record in self.records]

    def digest(self, name: str) -> bytes:
        """Equal for equal arrays, in every build."""
        values = self.values(name)
        return b"".join(blake2b(np.ascontiguousarray(v).data, digest_size=16).digest() for v in values)


def draw_builds(pair: Pair, case: Case) -> tuple[Builds, Builds]:
    """Have both sides build their model again and again, each from seeds of its own."""
    shapes = pair.descriptions["torch"]["shapes"]
    count = sum(int(np.prod(shape)) for shape in shapes.values())
    builds = min(max(VALUES // max(count, 1), FEWEST), MOST)
    files = {side: [pair.folder / f"{side}-{n}.rec" for n in range(builds)] for side in ("torch", "paddle")}
    with pair.steps.step(f"initialising both models {builds} times"):
        pending = {
            client.framework: client.submit(
                "initial.draw",
                seeds=_seeds(case.seed, builds, which),
                out=[str(path) for path in files[client.framework]],
            )
            for which, client in enumerate((pair.torch, pair.paddle))
        }
        facts = {side: answer.result() for side, answer in pending.items()}
    config = pair.descriptions["torch"].get("config", {})
    rules = _rules(case.model, facts["paddle"], facts["torch"], config)
    return (
        Builds("torch", [Record(path) for path in files["torch"]], facts["torch"], {}),
        Builds("paddle", [Record(path) for path in files["paddle"]], facts["paddle"], rules),
    )


def transfer(pair: Pair, model: str, weights: Path, sides: Sequence[Builds]) -> list[Builds]:
    """What the model of each side holds once the record `weights` (torch layout) is loaded into it."""
    files = [pair.folder / f"{side.side}-held.rec" for side in sides]
    clients = [pair.torch if side.side == "torch" else pair.paddle for side in sides]
    with pair.steps.step("starting both models from one initialisation"):
        for client in clients:
            client.submit("load", weights=str(weights), model=model)
        pending = [client.submit("initial.held", out=str(path)) for client, path in zip(clients, files, strict=True)]
        for answer in pending:
            answer.result()
    return [replace(side, records=[Record(path)]) for side, path in zip(sides, files, strict=True)]


def _seeds(seed: int, builds: int, which: int) -> list[int]:
    """Seeds that neither the other side nor another run has."""
    return [2 * ((seed * MOST + n) % 2**30) + which for n in range(builds)]


def _rules(
    model: str, facts: Mapping[str, Any], reference: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, convert.Keep]:
    """How each tensor of the Paddle side gets into the torch layout; one that no rule knows stays as it is."""
    table = convert.table(model, "paddle", "torch", config)
    shapes = {name: tuple(shape) for name, shape in facts["shapes"].items() if name not in facts["tied"]}
    known = {name: shape for name, shape in shapes.items() if name in reference["shapes"]}
    for wanted in (shapes, known):
        try:
            return {step.source: step.rule.op for step in table.plan(wanted).steps if step.source == step.target}
        except convert.MappingError as error:
            problem = error
    raise CannotCompareError(f"the parameters of the paddle model have no torch layout: {problem}".replace("\n", "; "))
