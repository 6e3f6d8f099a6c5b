"""What two models share and train, whatever their values are: facts that only training shows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from align.blame import Finding
from align.edges import ROOT
from align.sides import names

Descriptions = Mapping[str, Mapping[str, Any]]
_OTHER = {"torch": "paddle", "paddle": "torch"}


@dataclass(frozen=True)
class OneSided:
    """A fact that holds on one side only, of the parameter `name`; `concerned` are all parameters that it touches."""

    name: str
    text: str
    cause: str
    concerned: frozenset[str]

    @property
    def finding(self) -> Finding:
        return Finding(owner(self.name), self.text, self.name, {"explanation": {"text": self.cause}}, stands=True)


def owner(parameter: str) -> str:
    """The module that holds a parameter."""
    return parameter.rpartition(".")[0] or ROOT


def sharing(descriptions: Descriptions) -> Iterator[OneSided]:
    """Tensors that one side alone shares between two names: equal now, they part when trained."""
    called = names(descriptions)
    for side, other in _OTHER.items():
        tied, apart = descriptions[side]["tied"], descriptions[other]
        for name, first in tied.items():
            if apart["tied"].get(name) != first and name in apart["shapes"]:
                text = f"only the {called[side]} model shares one tensor between {name} and {first}: "
                cause = f"{name} is a tensor of its own in {called[other]}"
                yield OneSided(name, f"{text}trained, they would part", cause, frozenset({name, first}))


def frozen(descriptions: Descriptions) -> Iterator[OneSided]:
    """Parameters that take a gradient on one side alone."""
    torch, paddle = (descriptions[side]["trainable"] for side in ("torch", "paddle"))
    called = names(descriptions)
    for name in torch:
        if name in paddle and torch[name] != paddle[name]:
            side = "torch" if torch[name] else "paddle"
            text = f"only the {called[side]} model trains {name}"
            yield OneSided(name, text, f"{name} is frozen in {called[_OTHER[side]]}", frozenset({name}))
