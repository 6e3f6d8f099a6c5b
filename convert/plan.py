"""A table of rules, applied to the names of one checkpoint, becomes a plan that is proved before a byte moves."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from convert.arrays import contiguous, same_bits
from convert.errors import MappingError, nearest
from convert.ops import Alias, Drop, Shape
from convert.rules import Rule, Rules, current, inverse

HINTS = 20  # so many offenders at most get a nearest name: to look for one is slow


@dataclass(frozen=True)
class Step:
    """One tensor of the target: the source it is made from, the rule that says how, and the shape that comes out."""

    source: str
    target: str
    rule: Rule
    shape: Shape


@dataclass(frozen=True)
class Plan:
    """A conversion that is known to be complete; made by `Table.plan`.

    `dropped` gives the reason for each source name left out, `ties` the pairs of source names that must be one tensor.
    """

    steps: tuple[Step, ...]
    dropped: Mapping[str, str]
    ties: tuple[tuple[str, str], ...]

    @property
    def target_shapes(self) -> dict[str, Shape]:
        """Name to shape, in the target layout."""
        return {step.target: step.shape for step in self.steps}

    @property
    def rules_used(self) -> Counter[str]:
        """How many tensors each kind of rule makes or drops."""
        kinds = [type(step.rule.op).__name__ for step in self.steps]
        return Counter(kinds) + Counter(Drop=len(self.dropped))

    @property
    def reasons(self) -> dict[str, list[str]]:
        """The names dropped for each reason."""
        found: dict[str, list[str]] = {}
        for name, reason in self.dropped.items():
            found.setdefault(reason, []).append(name)
        return found

    def convert(self, read: Callable[[str], np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
        """Yield (target name, array in C order), one tensor at a time; `read` fetches a source tensor.

        Tied names are compared before the first is yielded; MappingError lists those that differ.
        """
        self.check_ties(lambda a, b: same_bits(contiguous(read(a)), contiguous(read(b))))
        for step in self.steps:
            yield step.target, contiguous(step.rule.op.view(read(step.source)))

    def check_ties(self, same: Callable[[str, str], bool]) -> None:
        """Raise MappingError with the tied names that `same` says are not one tensor."""
        loose = [pair for pair in self.ties if not same(*pair)]
        if loose:
            lines = [f"{a} and {b} are one tensor in this model, but their values differ" for a, b in loose]
            raise MappingError('tied weights (a configuration unties them by "tie_word_embeddings": false)', lines)


@dataclass(frozen=True)
class Table:
    """The rules from one layout of a model to another."""

    model: str
    source: str
    target: str
    rules: Rules

    def __str__(self) -> str:
        return f"{self.model}, {self.source} → {self.target}"

    def inverse(self) -> "Table":
        """The table of the way back."""
        return Table(self.model, self.target, self.source, inverse(current(self.rules)))

    def plan(self, shapes: Mapping[str, Shape]) -> Plan:
        """Prove that tensors of these names and shapes convert: each is taken by one rule, each target filled once.

        Raises MappingError with every offender: unexpected names, names that several rules claim, targets filled twice,
        shapes that no rule fits, tied tensors of different shapes or missing altogether.
        """
        aliases = [(rule, rule.op) for rule in self.rules if isinstance(rule.op, Alias)]
        aliases = [(rule, op) for rule, op in aliases if rule.source in shapes or op.beside in shapes]
        origins, ties, problems = _follow(aliases, shapes)
        claims = {name: self._claims(name) for name in origins}
        taken = [(origins[name], *found[0]) for name, found in claims.items() if len(found) == 1]
        taken += [(origins[op.of], rule, rule.target) for rule, op in aliases if not rule.source and op.of in origins]
        steps, misfits = _steps(taken, shapes)
        problems = [*self._unclear(claims), *problems, *misfits, *_doubly_filled(steps)]
        if problems or not steps:
            raise MappingError(str(self), problems or ["there is no tensor to convert"])
        dropped = {name: rule.op.reason for name, rule, _ in taken if isinstance(rule.op, Drop)}
        return Plan(tuple(steps), dropped, tuple(ties))

    @cached_property
    def _index(self) -> dict[str, list[tuple[re.Pattern[str], Rule]]]:
        """Rules by the skeleton of their source, so that a name meets only the few rules that it may match."""
        index: dict[str, list[tuple[re.Pattern[str], Rule]]] = {}
        for rule in self.rules:
            if rule.source is not None:
                pattern = re.compile(re.escape(rule.source).replace(r"\{\}", r"(\d+)"))
                index.setdefault(_skeleton(rule.source), []).append((pattern, rule))
        return index

    @cached_property
    def _drops(self) -> list[tuple[re.Pattern[str], Rule]]:
        """The rules that drop all names of a kind."""
        kinds = [(rule.source, rule) for rule in self.rules if rule.source and "*" in rule.source]
        return [(re.compile(re.escape(source).replace(r"\*", ".*"), re.DOTALL), rule) for source, rule in kinds]

    def _claims(self, name: str) -> list[tuple[Rule, str | None]]:
        """The rules that take `name`, each with the target it makes of it; without any, one that drops its kind."""
        known = self._index.get(_skeleton(name), ())
        found = [(rule, match) for pattern, rule in known if (match := pattern.fullmatch(name))]
        if found:
            return [(rule, rule.target and rule.target.format(*match.groups())) for rule, match in found]
        dropped = next((rule for pattern, rule in self._drops if pattern.fullmatch(name)), None)
        return [(dropped, None)] if dropped else []

    def _unclear(self, claims: Mapping[str, list[tuple[Rule, str | None]]]) -> list[str]:
        """A line for each name that no rule takes, or more than one."""
        unexpected = [name for name, found in claims.items() if not found]
        several = {
            name: " and ".join(str(rule) for rule, _ in found) for name, found in claims.items() if len(found) > 1
        }
        lines = [f"unexpected: {name}{self._hint(name) if len(unexpected) <= HINTS else ''}" for name in unexpected]
        return lines + [
            f'ambiguous: {name} may be {rules}; "architectures" in config.json decides'
            for name, rules in several.items()
        ]

    def _hint(self, name: str) -> str:
        numbers = re.findall(r"\d+", name)
        known = (rule.source for rule in self.rules if rule.source and "*" not in rule.source)
        return nearest(
            name, [pattern.format(*numbers) for pattern in known if pattern.count("{}") in (0, len(numbers))]
        )


def check_state(
    shapes: Mapping[str, Shape], expected: Mapping[str, Shape], where: str, spare: tuple[str, ...] = ()
) -> None:
    """Raise MappingError unless `shapes` has exactly the names of `expected`, each with its shape.

    Names that begin as one of `spare` may be there beyond those of `expected`.

    The strict half that a plan cannot know: a plan maps what a checkpoint has, `expected` is what a model needs.
    `where` opens the message. All missing, unexpected and misshapen names are listed.
    """
    missing = [name for name in expected if name not in shapes]
    unexpected = [name for name in shapes if name not in expected and not name.startswith(spare)]
    hints = len(unexpected) <= HINTS
    problems = [f"missing: {name} {tuple(expected[name])}" for name in missing]
    problems += [f"unexpected: {name}{nearest(name, missing or expected) if hints else ''}" for name in unexpected]
    for name in expected:
        if name in shapes and tuple(shapes[name]) != tuple(expected[name]):
            problems.append(f"misshapen: {name} is {tuple(shapes[name])}, the model needs {tuple(expected[name])}")
    if problems:
        raise MappingError(where, problems)


def _follow(
    aliases: list[tuple[Rule, Alias]], shapes: Mapping[str, Shape]
) -> tuple[dict[str, str], list[tuple[str, str]], list[str]]:
    """Each name's tensor (with the names that a file with ties may leave out), pairs to compare, and problems."""
    origins, ties, problems = {name: name for name in shapes}, [], []
    for of in dict.fromkeys(op.of for _, op in aliases):
        names = [of, *(rule.source for rule, op in aliases if rule.source and op.of == of)]
        present = [name for name in names if name in shapes]
        if not present:
            problems.append(f"missing: {of}")
            continue
        origins |= dict.fromkeys(names, present[0])
        ties += [(present[0], other) for other in present[1:]]
    unequal = [(a, b) for a, b in ties if shapes[a] != shapes[b]]
    problems += [f"misshapen: {a} {shapes[a]} and {b} {shapes[b]} are one tensor in this model" for a, b in unequal]
    return origins, ties, problems


def _steps(taken: Iterable[tuple[str, Rule, str | None]], shapes: Mapping[str, Shape]) -> tuple[list[Step], list[str]]:
    """A step for each target, and a line for each source whose shape does not fit its rule."""
    steps, misfits = [], []
    for source, rule, target in taken:
        if target is None:
            continue
        try:
            steps.append(Step(source, target, rule, rule.op.shape(tuple(shapes[source]))))
        except ValueError as error:
            misfits.append(f"wrong shape: {source} has shape {tuple(shapes[source])}; {rule}: {error}")
    return steps, misfits


def _doubly_filled(steps: Iterable[Step]) -> list[str]:
    sources: dict[str, list[str]] = {}
    for step in steps:
        sources.setdefault(step.target, []).append(f"{step.source} by {step.rule}")
    return [f"doubly filled: {target}, from {' and '.join(by)}" for target, by in sources.items() if len(by) > 1]


def _skeleton(name: str) -> str:
    return re.sub(r"\{\}|\d+", "#", name)
