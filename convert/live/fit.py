"""Which tensor of a checkpoint goes into which of a model: all of them, or whole modules less."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from convert.errors import MappingError
from convert.ops import Shape
from convert.plan import check_state

Shapes = Mapping[str, Shape]


@dataclass(frozen=True)
class Fit:
    """`names` maps the model's names to the checkpoint's; `new` modules have no weights there, `unused` no place."""

    names: Mapping[str, str]
    new: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    @property
    def loose(self) -> str:
        """What does not come from the checkpoint, and what of it is not used; empty if nothing."""
        new = f"not in the checkpoint, as initialised: {', '.join(self.new)}" if self.new else ""
        unused = f"in the checkpoint, not used: {', '.join(self.unused)}" if self.unused else ""
        return "; ".join(filter(None, (new, unused)))


def fit(found: Shapes, needed: Shapes, where: str, strict: bool = True, spare: tuple[str, ...] = ()) -> Fit:
    """Fit the tensors `found` in a checkpoint, in the layout of the model, to those that the model `needed`.

    What begins as one of `spare` may be in the checkpoint beyond what is needed. Unless `strict`, a top-level or spare
    module may be missing or unused as a whole, and `found` may be the backbone of the model or have the model as its
    backbone. Raises MappingError with all names that do not fit; it opens with `where`.
    """
    if strict:
        check_state(found, needed, where, spare)
        return Fit({name: name for name in needed})

    def module(name: str) -> str:
        return next((part.rstrip(".") for part in spare if name.startswith(part)), _top(name))

    moved = _aligned(found, needed)
    has, wants = set(map(module, moved)), set(map(module, needed))
    new, unused = tuple(sorted(wants - has)), tuple(sorted(has - wants))
    wanted = {name: shape for name, shape in needed.items() if module(name) not in new}
    given = {name: found[old] for name, old in moved.items() if module(name) not in unused}
    if not wanted:
        raise MappingError(where, [f"the model has {', '.join(new)}, the checkpoint {', '.join(unused)}"])
    check_state(given, wanted, where)
    return Fit({name: moved[name] for name in wanted}, new, unused)


def _aligned(found: Shapes, needed: Shapes) -> dict[str, str]:
    """Name → name in `found`, with the backbone's prefix added or taken away where only one side has it."""
    same = {name: name for name in found}
    if _tops(found) & _tops(needed):
        return same
    for prefix in _tops(needed):
        if _tops(found) <= _tops(_under(prefix, needed)):
            return {f"{prefix}.{name}": name for name in found}
    for prefix in _tops(found):
        inner = _under(prefix, found)
        if _tops(needed) <= _tops(inner):
            outside = {name: name for name in found if _top(name) != prefix}
            return outside | {name: f"{prefix}.{name}" for name in inner}
    return same


def _under(prefix: str, names: Iterable[str]) -> list[str]:
    return [name.removeprefix(f"{prefix}.") for name in names if name.startswith(f"{prefix}.")]


def _top(name: str) -> str:
    return name.partition(".")[0]


def _tops(names: Iterable[str]) -> set[str]:
    return {_top(name) for name in names}
