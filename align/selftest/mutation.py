"""One injected bug: what it changes, and what a true verdict says of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from align.session import Session


@dataclass(frozen=True)
class Mutation:
    """One bug to be put into one side of a pair.

    `kind` is its row in the catalogue of real porting bugs ("FW02"), `name` tells it from others of that kind, `stage`
    is the stage that must find it and `blamed` what must be named first: a module ("<root>" is the model itself), or
    for stages without modules the quantity. `apply` changes a session that has built its model; it may replace anything
    on that session and its model, in either framework. `explained` is a pattern that the explanation must match, ""
    where none is expected. `task` None stands for the architecture's first; `config` are options that differ from the
    variant's, `case` what `align.case.resolve` takes besides, `options` what the user
    may choose of stages (`align.stages.Options`).
    """

    kind: str
    name: str
    stage: str
    blamed: str
    apply: Callable[[Session], None]
    explained: str = ""
    task: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    case: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"
