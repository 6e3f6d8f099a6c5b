"""Noise floors of composites, recorded ahead.

Which modules a comparison will leave native is known only once it sees the other side. But what a composite's own edges
say when everything inside it is native does not depend on what other modules do, since all that enters it is the
reference's own. So one replay for each depth of the module tree, with everything deeper left native, tells them all.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from align.edges import ROOT, ancestors, module_of
from align.structure import owner

_KEPT = ("differences", "gradients")


def native_levels(modules: Iterable[str]) -> list[list[str]]:
    """For each depth that has modules below it, those modules."""
    modules = list(modules)
    deepest = max(map(_depth, modules), default=0)
    return [sorted(m for m in modules if _depth(m) > depth) for depth in range(deepest)]


def slim(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Of a replay's answer the largest differences, which is all that a noise floor takes."""
    return {
        key: {name: {"max_abs": found["max_abs"]} for name, found in answer[key].items()}
        for key in _KEPT
        if key in answer
    }


def composed(base: Mapping[str, Any], levels: Sequence[Mapping[str, Any]], native: Collection[str]) -> dict[str, Any]:
    """The slim answer of a replay that leaves the modules `native` native, made of those that were recorded.

    `native` are whole insides: with a module everything in it, and with a child all of its parent's children.
    """
    inside = frozenset(native)
    heads = {next(a for a in ancestors(module) if a not in inside) for module in inside}
    answer: dict[str, Any] = {}
    for key, found in base.items():
        answer[key] = {}
        for name in found:
            module = module_of(name) if ":" in name else owner(name)
            if module in inside and ":" in name:
                continue
            head = module if module in heads else next((a for a in ancestors(module) if a in heads), None)
            told = found
            if head is not None and (module in inside or module == head):
                told = levels[_depth(head)][key]
            if name in told:
                answer[key][name] = told[name]
    return answer


def _depth(module: str) -> int:
    return 0 if module == ROOT else module.count(".") + 1
