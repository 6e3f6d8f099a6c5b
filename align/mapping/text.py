"""A weight map for people: as rules, in a file that can be edited and read again, and in notes of a report."""

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from align.errors import CannotCompareError
from align.files import write_text
from align.mapping.links import FUNCTION, GIVEN, OPEN, UNIQUE, Link, Map, Op
from align.mapping.modules import unmatched
from align.mapping.side import Side

if TYPE_CHECKING:
    from align.foreign.workbench import Found

_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")
_NAMED = 8
_KEYS = frozenset({"torch", "paddle", "transposed", "shape", "axis", "groups"})
_WHY = {
    UNIQUE: "the only one of its shape",
    FUNCTION: "decided by function",
    GIVEN: "given",
    OPEN: "a guess: another is as good by name and by function",
}


@dataclass(frozen=True)
class MapRule:
    """Links that differ in their numbers only."""

    torch: tuple[str, ...]
    paddle: tuple[str, ...]
    op: Op
    sure: str
    certainty: float
    count: int

    def __str__(self) -> str:
        return f"{self.op.word}({' + '.join(self.torch)} → {' + '.join(self.paddle)})"

    @property
    def reason(self) -> str:
        return _WHY.get(self.sure, f"by name, the next best {self.certainty:.0%} behind")


def rules(links: Iterable[Link]) -> list[MapRule]:
    """The links as rules: `{}` stands for the same numbers on both sides, of all tensors that are so named."""
    links = list(links)
    alike = Counter(_template(link.torch[0]) for link in links)
    groups: dict[Any, list[Link]] = {}
    for link in links:
        groups.setdefault((_templates(link.torch), _templates(link.paddle), link.op), []).append(link)
    found = []
    for (ours, theirs, op), members in groups.items():
        numbers = [{tuple(_NUMBER.findall(name)) for name in (*m.torch, *m.paddle)} for m in members]
        if len(members) > 1 and alike[ours[0]] == len(members) and all(len(n) == 1 for n in numbers):
            sure = min(members, key=lambda m: m.certainty)
            found.append(MapRule(ours, theirs, op, sure.sure, sure.certainty, len(members)))
        else:
            found += [MapRule(m.torch, m.paddle, m.op, m.sure, m.certainty, 1) for m in members]
    return found


def _templates(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(_template, names))


def _template(name: str) -> str:
    return _NUMBER.sub("{}", name)


def save_map(path: Path, found: Map) -> None:
    """Write the map as TOML, each rule under a comment that says how sure it is."""
    lines = ["# A weight map of plumbline: torch → paddle. {} stands for the same numbers on both sides.", ""]
    for rule in rules(found.links):
        lines += [
            f"# {rule.reason}",
            "[[rule]]",
            f"torch = {_spelled(rule.torch)}",
            f"paddle = {_spelled(rule.paddle)}",
        ]
        op = rule.op
        lines += ["transposed = true"] * op.transposed
        lines += [] if op.shape is None else [f"shape = {list(op.shape)}"]
        lines += [f"axis = {op.axis}", f"groups = {op.groups}"] * (op.axis is not None)
        lines.append("")
    for side, names in (("torch", found.only_torch), ("paddle", found.only_paddle)):
        lines += [f"# only {side}: {name}" for name in names]
    write_text(path, "\n".join(lines) + "\n")


def _spelled(names: Sequence[str]) -> str:
    quoted = [f'"{name}"' for name in names]
    return quoted[0] if len(quoted) == 1 else f"[{', '.join(quoted)}]"


def read_map(path: Path, torch: Side, paddle: Side) -> Map:
    """Read a map that `save_map` wrote or a person did.

    Raises:
        CannotCompareError: the file cannot be read, or has entries that say nothing or name what a model does not have;
            all offenders are listed.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CannotCompareError(f"--weight-map {path}: {error}") from error
    entries = raw.get("rule", [])
    entries = entries if isinstance(entries, list) else [entries]
    problems = [f"rule {number}: {fault}" for number, entry in enumerate(entries, 1) for fault in _faults(entry)]
    links = [] if problems else [link for entry in entries for link in _links(entry, torch, paddle, problems)]
    twice = sorted({n for link in links for n in link.paddle if sum(n in other.paddle for other in links) > 1})
    problems += [f"{name} is filled twice" for name in twice]
    if problems or not links:
        raise CannotCompareError(f"--weight-map {path}: {'; '.join(problems) or 'it has no [[rule]]'}")
    left = [
        tuple(name for name in side.shapes if all(name not in getattr(link, label) for link in links))
        for label, side in (("torch", torch), ("paddle", paddle))
    ]
    return Map(tuple(links), *left)


def _faults(rule: Any) -> Iterator[str]:
    """What one entry of a file lacks or misspells."""
    if not isinstance(rule, dict):
        yield "it is no table, begin it with [[rule]]"
        return
    yield from (f"it may not have {key!r}, only {', '.join(sorted(_KEYS))}" for key in sorted(set(rule) - _KEYS))
    if not isinstance(rule.get("transposed", False), bool):
        yield "transposed should be true or false"
    for key, least in (("axis", 0), ("groups", 1)):
        if not _is_whole(rule.get(key, least), least):
            yield f"{key} should be a whole number from {least} on"
    shape = rule.get("shape", [])
    if not (isinstance(shape, list) and all(_is_whole(n, 0) for n in shape)):
        yield "shape should be a list of whole numbers"
    sides = {side: _names(rule.get(side)) for side in ("torch", "paddle")}
    unnamed = [s for s, names in sides.items() if not (names and all(isinstance(n, str) and n for n in names))]
    yield from (f"{side} should be a name or a list of names" for side in unnamed)
    if not unnamed:
        yield from _faults_of_names(sides["torch"], sides["paddle"], "axis" in rule)


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _faults_of_names(ours: Sequence[str], theirs: Sequence[str], packed: bool) -> Iterator[str]:
    if len(ours) > 1 < len(theirs):
        yield "several tensors on both sides, where one side should hold one"
    elif max(len(ours), len(theirs)) > 1 and not packed:
        yield "several tensors need an axis along which they are packed"
    for name in (*ours, *theirs):
        if name.count("{}") > ours[0].count("{}"):
            yield f"{name} has more {{}} than {ours[0]}, from which their numbers come"


def _links(rule: dict[str, Any], torch: Side, paddle: Side, problems: list[str]) -> Iterator[Link]:
    """The links of one rule, one for each set of numbers that the torch side has."""
    names = [_names(rule[side]) for side in ("torch", "paddle")]
    split = len(names[1]) if len(names[1]) > 1 else 0
    shape = tuple(rule["shape"]) if "shape" in rule else None
    op = Op(rule.get("transposed", False), shape, rule.get("axis"), rule.get("groups", 1), split)
    pattern = re.compile(re.escape(names[0][0]).replace(r"\{\}", r"(\d+)"))
    found = [match.groups() for name in torch.shapes if (match := pattern.fullmatch(name))]
    if not found:
        problems.append(f"the torch model has no {names[0][0]}")
    for numbers in found:
        ours, theirs = (tuple(_filled(name, numbers) for name in side) for side in names)
        missing = [n for n in ours if n not in torch.shapes], [n for n in theirs if n not in paddle.shapes]
        problems += [f"the torch model has no {n}" for n in missing[0]]
        problems += [f"the paddle model has no {n}" for n in missing[1]]
        if not any(missing):
            link = Link(ours, theirs, op, GIVEN, 1.0, tuple(torch.shapes[n] for n in ours))
            problems += _misfits(link, paddle)
            yield link


def _names(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _filled(name: str, numbers: Sequence[str]) -> str:
    first, *rest = name.split("{}")
    return first + "".join(number + part for number, part in zip(numbers, rest, strict=False))


def _misfits(link: Link, paddle: Side) -> list[str]:
    """Where the op does not make the shapes that the Paddle side has."""
    import numpy as np

    axis = link.op.axis
    if axis is not None and axis >= min(map(len, link.shapes)):
        return [f"{' + '.join(link.torch)}: there is no axis {axis}"]
    try:
        made = [value.shape for value in link.op.to_paddle([np.empty(shape) for shape in link.shapes])]
    except ValueError as error:
        return [f"{' + '.join(link.torch)}: {error}"]
    due = [paddle.shapes[name] for name in link.paddle]
    return [] if made == due else [f"{' + '.join(link.paddle)} has shape {due}, the rule makes {made}"]


def summary(found: Map) -> list[str]:
    """How sure the map is, and what has no counterpart."""
    kinds: dict[str, int] = {}
    for link in found.links:
        kinds[link.sure] = kinds.get(link.sure, 0) + 1
    words = {"shape": "by shape", "names": "by name", "function": "by function", "given": "as given"}
    least = min((link.certainty for link in found.links if link.sure == "names"), default=None)
    near = f", the nearest rival {least:.0%} behind" if least is not None else ""
    notes = [f"weight map: {', '.join(f'{n} {words[kind]}' for kind, n in kinds.items())}{near}"]
    for side, names in (("torch", found.only_torch), ("paddle", found.only_paddle)):
        if names:
            notes.append(f"only the {side} model has the weights {_listed(names)}")
    return notes


def module_notes(found: "Found", torch: Side, paddle: Side) -> list[str]:
    """Which modules have no counterpart; they are judged with what encloses them."""
    return [
        f"modules of {side} alone, judged with what encloses them: {_listed(names)}"
        for side, names in unmatched(found.modules, torch, paddle)
        if names
    ]


def _listed(names: Sequence[str]) -> str:
    kinds = list(dict.fromkeys(_template(name) for name in names))
    return ", ".join(kinds[:_NAMED]) + (" …" if len(kinds) > _NAMED else "")
