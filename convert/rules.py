"""Declarative, reversible rules between checkpoint layouts.

A layout is declared once, as rules from our torch layout (the hub) to it. Everything else is derived: the inverse, and
the rules from any layout A to any B as A → torch ∘ torch → B. A name is a pattern in which `{}` stands for a number.
`convert.plan` applies the rules to the names of a checkpoint.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Keep:
    """The tensor as it stands: embeddings, norms, biases, everything of three dimensions."""

    def shape(self, shape: Shape) -> Shape:
        """The shape in the target layout; ValueError where the rule cannot apply."""
        return shape

    def view(self, array: np.ndarray) -> np.ndarray:
        """The tensor in the target layout, as a view: nothing is copied yet."""
        return array


@dataclass(frozen=True)
class Linear(Keep):
    """The weight of a Linear, transposed: torch stores (out, in), Paddle (in, out). Its own inverse."""

    def shape(self, shape: Shape) -> Shape:
        if len(shape) != 2:
            raise ValueError("a Linear weight has 2 dimensions")
        return shape[::-1]

    def view(self, array: np.ndarray) -> np.ndarray:
        return array.T


@dataclass(frozen=True)
class Alias(Keep):
    """A second name of the tensor `of`, which a file may leave out: it is then due wherever the name `beside` stands.

    Where a file holds both, they must be equal to the last bit. If the configuration sets `option` to false, the two
    are not tied, and the rule is a plain Keep. The names have no `{}`.
    """

    of: str
    beside: str
    option: str | None = None


@dataclass(frozen=True)
class Drop(Keep):
    """A name that only the other layout has, left out on purpose; the reverse direction does not make it."""

    reason: str


@dataclass(frozen=True)
class Rule:
    """One line of a table: `source` becomes `target` by `op`.

    `only` names the architectures (config.json's "architectures") whose files hold this name, where one name of the
    target stands for several of ours. A missing side (None) means that the layout does not have the tensor under a
    name.
    """

    source: str | None
    target: str | None
    op: Keep = field(default_factory=Keep)
    only: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{type(self.op).__name__}({self.source} → {self.target})"


Rules = tuple[Rule, ...]


# The words that layout files are written in.


def keep(source: str, target: str | None = None, only: tuple[str, ...] = ()) -> Rules:
    """One tensor that is never transposed; `target` is left out where the name is the same."""
    return (Rule(source, target or source, only=only),)


def norm(source: str, target: str | None = None) -> Rules:
    """Weight and bias of a normalisation."""
    target = target or source
    return (*keep(f"{source}.weight", f"{target}.weight"), *keep(f"{source}.bias", f"{target}.bias"))


def linear(source: str, target: str | None = None, *, bias: bool = True, only: tuple[str, ...] = ()) -> Rules:
    """Weight (transposed) and bias of a Linear layer."""
    target = target or source
    weight = Rule(f"{source}.weight", f"{target}.weight", Linear(), only)
    return (weight, *keep(f"{source}.bias", f"{target}.bias", only)) if bias else (weight,)


def drop(target: str, reason: str) -> Rules:
    """A name that only the other layout has."""
    return (Rule(None, target, Drop(reason)),)


def under(prefix: str, rules: Rules) -> Rules:
    """The same rules below `prefix`, on both sides."""
    return tuple(replace(rule, source=f"{prefix}{rule.source}", target=f"{prefix}{rule.target}") for rule in rules)


def own_names(rules: Rules) -> Rules:
    """The same operations under the hub's names: what our Paddle layout is to PaddleNLP's."""
    return tuple(replace(rule, target=rule.source, only=()) for rule in rules if rule.source)


def identity(rules: Rules) -> Rules:
    """The hub's names and the hub's tensors: what transformers' layout is to ours."""
    return tuple(replace(rule, op=Keep()) if rule.op == Linear() else rule for rule in own_names(rules))


# The algebra of tables.


def active(rules: Rules, config: Mapping[str, Any]) -> Rules:
    """The rules that hold for one configuration: those of its architecture, with aliases undone that it unties."""
    chosen = {name for rule in rules for name in rule.only} & set(config.get("architectures") or ())
    ours = [rule for rule in rules if not (rule.only and chosen) or chosen & set(rule.only)]
    loose = [replace(rule, op=Keep()) if _untied(rule.op, config) else rule for rule in ours]
    return tuple(rule for rule in loose if rule.op != Keep() or None not in (rule.source, rule.target))


def _untied(op: Keep, config: Mapping[str, Any]) -> bool:
    return isinstance(op, Alias) and op.option is not None and config.get(op.option) is False


def inverse(rules: Rules) -> Rules:
    """The table read from right to left."""
    names = {rule.source: rule.target for rule in rules}

    def turned(op: Keep) -> Keep:
        if not isinstance(op, Alias):
            return op
        return replace(op, of=str(names[op.of]), beside=str(names[op.beside]))

    return tuple(replace(rule, source=rule.target, target=rule.source, op=turned(rule.op)) for rule in rules)


def compose(first: Rules, second: Rules) -> Rules:
    """`first`, then `second`, which starts from the names that `first` ends in. Two transpositions cancel."""
    onward = {rule.source: rule for rule in second if rule.source}
    joined = [_joined(rule, onward[rule.target]) for rule in first if rule.target in onward]
    ends = (*(rule for rule in first if not rule.target), *(rule for rule in second if not rule.source))
    drops = (rule for rule in ends if isinstance(rule.op, Drop))
    return (*(rule for rule in joined if rule.source or rule.target), *drops)


def _joined(first: Rule, second: Rule) -> Rule:
    op = Keep() if first.op == second.op == Linear() else second.op if first.op == Keep() else first.op
    return Rule(first.source, second.target, op, first.only or second.only)
