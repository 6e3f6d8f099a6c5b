"""One small configuration, in the words of both sides.

Sizes that mean the same get the same number, and sizes that mean different things different ones; every other option
that both sides have takes the value of the torch side, whose defaults are thereby the reference. Where the defaults of
the two sides differ, that is a finding of its own: the same checkpoint's configuration may be read differently.
Nothing is dropped: where two trees differ, their dropouts cannot be given the same masks.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from align.foreign.options import Kind, kind_of
from align.mapping.names import alike

# Heads divide the width; a head times the heads is another number than the width; no size is twice another's.
TINY: Mapping[Kind, Any] = {
    Kind.VOCABULARY: 97,
    Kind.HIDDEN: 48,
    Kind.INNER: 68,
    Kind.ENCODER_INNER: 68,
    Kind.DECODER_INNER: 60,
    Kind.LAYERS: 2,
    Kind.DECODER_LAYERS: 2,
    Kind.HEADS: 4,
    Kind.DECODER_HEADS: 4,
    Kind.GROUPED_HEADS: 2,
    Kind.HEAD: 10,
    Kind.ROTARY: 8,
    Kind.POSITIONS: 53,
    Kind.TYPES: 3,
    Kind.EMBEDDING: 36,
    Kind.BOTTLENECK: 28,
    Kind.PROJECTION: 22,
    Kind.IMAGE: 24,
    Kind.PATCH: 8,
    Kind.MELS: 20,
    Kind.LABELS: 5,
}
_TIED_SIZES = {Kind.HEAD: 12, Kind.EMBEDDING: 48}  # where a model takes no others
_NESTED_STEP = {Kind.HIDDEN: 8, Kind.INNER: 6, Kind.POSITIONS: 1}  # a second part of a model has other sizes
_LEAST_SIZE = 16  # numbers that may be sizes which follow another
_NOT_FUNCTION = ("transformers_version", "architectures", "model_type", "torch_dtype", "dtype", "use_cache")


@dataclass(frozen=True)
class Words:
    """The configuration in the words of either side, the sizes that batches are made from, and what was noticed."""

    torch: dict[str, Any]
    paddle: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def tiny(torch: Mapping[str, Any], paddle: Mapping[str, Any], tied: bool = False) -> Words:
    """A small configuration for two classes, of which `torch` and `paddle` are the facts (see `operations.foreign`).

    With `tied`, the sizes that some models cannot choose freely follow the width.
    """
    ours, theirs = torch["config"], paddle["config"]
    base = set(torch["base"]) - {"num_labels"}, set(paddle["base"]) - {"num_labels"}
    pairs = dict(_pairs(ours, theirs, paddle["synonyms"]))
    words = Words(*_sized(ours, theirs, pairs, base, tied, 0))
    if paddle["open"]:
        extra = {k: v for k, v in _alone(ours, pairs, base[0]).items() if k not in theirs and k not in words.paddle}
        words.paddle.update({option: words.torch.get(option, value) for option, value in extra.items()})
    words.notes.extend(_other_defaults(ours, theirs, pairs, base))
    words.torch.setdefault("attn_implementation", "eager")
    return words


def _pairs(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], synonyms: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Options of both sides that mean the same: by name, by the other side's own synonyms, by kind."""
    taken: set[str] = set()
    for option in ours:
        same = option if option in theirs else None
        if same:
            taken.add(same)
            yield option, same
    for option in ours:
        if option not in theirs:
            other = synonyms.get(option)
            kind = None if kind_of(option) is Kind.DROPOUT else kind_of(option)
            if other not in theirs or (kind and kind_of(str(other)) is not kind):
                of_kind = [name for name in theirs if kind and kind_of(name) is kind and name not in taken]
                other = max(of_kind, key=lambda name: alike(name, option), default=None)
            if other and other not in taken:
                taken.add(other)
                yield option, other


def _sized(
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    pairs: Mapping[str, str],
    base: tuple[set[str], set[str]],
    tied: bool,
    depth: int,
) -> tuple[dict[str, Any], dict[str, Any]]:
    made: dict[str, Any] = {}
    sizes = {k: v + depth * _NESTED_STEP.get(k, 0) if isinstance(v, int) else v for k, v in TINY.items()}
    sizes |= _TIED_SIZES if tied else {}
    for number, (option, value) in enumerate(ours.items()):
        if isinstance(value, Mapping) and any(kind_of(inner) for inner in value):
            there = theirs.get(pairs.get(option, option))
            other = there if isinstance(there, Mapping) else {}
            inner = dict(_pairs(value, other, {}))
            made[option] = _sized(value, other, inner, base, tied, depth + number % 2)[0]
        elif (size := _size(option, value, sizes)) is not None and (
            option in pairs or kind_of(option) not in _TIED_SIZES
        ):
            made[option] = size
        elif option in pairs and option not in base[0] and option not in _NOT_FUNCTION:
            made[option] = value
    vocabulary = sizes[Kind.VOCABULARY]
    made |= _special(ours, pairs, vocabulary)
    other = {pairs[option]: value for option, value in made.items() if option in pairs}
    return made | _following(ours, made, pairs), other | _following(theirs, other, {v: k for k, v in pairs.items()})


def _alone(ours: Mapping[str, Any], pairs: Mapping[str, str], base: set[str]) -> dict[str, Any]:
    """The options that only torch's configuration has: in a published config.json, Paddle reads them too."""
    free = {k: v for k, v in ours.items() if k not in pairs and k not in base and k not in _NOT_FUNCTION}
    usual = {k: v for k, v in free.items() if kind_of(k) is None and not isinstance(v, Mapping)}
    return usual | {k: 0.0 for k, v in free.items() if kind_of(k) is Kind.DROPOUT and v is not None}


def _size(option: str, value: Any, sizes: Mapping[Kind, Any]) -> Any:
    """The small value for an option that is a size; None for another, or one that is off (0 or None)."""
    kind = kind_of(option)
    if kind is Kind.BLOCKS and isinstance(value, list):
        return [1] + [2] * (len(value) - 1)
    if kind is Kind.INNER and value is None:
        return None
    if kind is Kind.DROPOUT:
        return 0.0 if isinstance(value, float) and value else None
    usable = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return sizes.get(kind) if usable and kind is not None else None


def _special(ours: Mapping[str, Any], pairs: Mapping[str, str], vocabulary: int) -> dict[str, Any]:
    """Ids of special tokens, alike on both sides and inside the vocabulary."""
    found = {}
    for option in pairs:
        value = ours[option]
        if option.endswith("token_id") and isinstance(value, int) and not isinstance(value, bool):
            found[option] = value if value < vocabulary else vocabulary - 1
    return found


def _following(defaults: Mapping[str, Any], made: Mapping[str, Any], paired: Mapping[str, str]) -> dict[str, Any]:
    """The sizes that only one side has: one that equals a size by default follows it."""
    small = {defaults[option]: value for option, value in made.items() if _is_size(defaults.get(option), value)}
    alone = {k: v for k, v in defaults.items() if k not in paired and k not in made}
    follows = {k: small[v] for k, v in alone.items() if isinstance(v, int) and not isinstance(v, bool) and v in small}
    return follows | {k: 0.0 for k, v in alone.items() if kind_of(k) is Kind.DROPOUT and isinstance(v, float) and v}


def _is_size(value: Any, small: Any) -> bool:
    return isinstance(value, int) and isinstance(small, int) and not isinstance(value, bool) and value >= _LEAST_SIZE


def _other_defaults(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], pairs: Mapping[str, str], base: tuple[set[str], set[str]]
) -> Iterator[str]:
    """A note on each option that is no size and whose defaults differ."""
    for option, other in pairs.items():
        a, b = ours[option], theirs[other]
        if option in _NOT_FUNCTION or a == b or isinstance(a, Mapping) or (option in base[0] and not _is_token(option)):
            continue
        name = option if option == other else f"{option} ({other})"
        yield f"the defaults of the configurations differ: {name} is {a!r} in torch and {b!r} in paddle"
    for option in theirs:
        if option not in pairs.values() and option not in base[1] and kind_of(option) is None and theirs[option]:
            yield f"only paddle has the option {option}, left at {theirs[option]!r}"


def _is_token(option: str) -> bool:
    return option.endswith("token_id")
