"""Declarative, reversible rules between checkpoint layouts.

A layout is declared once, as rules from our torch layout (the hub) to it. Everything else is derived: the inverse, and
the rules from any layout A to any B as A → torch ∘ torch → B. A name is a pattern in which `{}` stands for a number
and, where it is dropped, `*` for any text. `convert.plan` applies the rules to the names of a checkpoint.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from convert.errors import ConvertError
from convert.ops import Alias, Drop, GroupedLinear, Keep, Linear, then

Config = Mapping[str, Any]  # what config.json says
Numbers = tuple[int, ...]
Pairs = tuple[tuple[Numbers, Numbers], ...]  # what stands for {} in the source's name, and in the target's


@dataclass(frozen=True)
class Rule:
    """One line of a table: `source` becomes `target` by `op`.

    `only` names the architectures (config.json's "architectures") whose files hold this name, where one name of the
    target stands for several of ours. A missing side (None) means that the layout does not have the tensor under a
    name. Where the target counts in another way, `numbers` has all pairs of the source's numbers and the target's, or
    makes them for a configuration. A `legacy` rule holds a name that the target once had: it is read, never written.
    """

    source: str | None
    target: str | None
    op: Keep = field(default_factory=Keep)
    only: tuple[str, ...] = ()
    numbers: Callable[[Config], Pairs] | Pairs | None = None
    legacy: bool = False

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


def drop(target: str, reason: str, only: tuple[str, ...] = ()) -> Rules:
    """A name that only the other layout has."""
    return (Rule(None, target, Drop(reason), only),)


def under(prefix: str, rules: Rules, theirs: str | None = None, **changes: Any) -> Rules:
    """The same rules below `prefix`, on the target's side below `theirs` (the same if left out), with `changes`."""
    theirs = prefix if theirs is None else theirs
    return tuple(
        replace(rule, source=f"{prefix}{rule.source}", target=rule.target and f"{theirs}{rule.target}", **changes)
        for rule in rules
    )


def own_names(rules: Rules) -> Rules:
    """The same operations under the hub's names: what our Paddle layout is to PaddleNLP's.

    No name is ambiguous here; only aliases stay limited to their architectures, which they may be due in.
    """
    held = (rule for rule in rules if rule.source)
    return tuple(
        replace(rule, target=rule.source, only=rule.only if isinstance(rule.op, Alias) else ()) for rule in held
    )


def identity(rules: Rules) -> Rules:
    """The hub's names and the hub's tensors: what transformers' layout is to ours."""

    def upright(op: Keep) -> Keep:
        if isinstance(op, Alias):
            return replace(op, op=upright(op.op))
        return Keep() if isinstance(op, (Linear, GroupedLinear)) else op

    return tuple(replace(rule, op=upright(rule.op)) for rule in own_names(rules))


def formerly(rules: Rules, names: Mapping[str, str]) -> Rules:
    """Those of the rules whose target ends in one of `names`, with the ending that it once had instead."""
    return tuple(
        replace(rule, target=rule.target.removesuffix(now) + before, legacy=True)
        for rule in rules
        for now, before in names.items()
        if rule.target and rule.target.endswith(now)
    )


# The words of TensorFlow's layouts.


def tf_linear(source: str, target: str, *, only: tuple[str, ...] = ()) -> Rules:
    """Kernel (in, out) and bias of a dense layer."""
    return (
        Rule(f"{source}.weight", f"{target}/kernel", Linear(), only),
        *keep(f"{source}.bias", f"{target}/bias", only),
    )


def tf_norm(source: str, target: str, *, only: tuple[str, ...] = ()) -> Rules:
    """Gamma and beta of a normalisation."""
    return (*keep(f"{source}.weight", f"{target}/gamma", only), *keep(f"{source}.bias", f"{target}/beta", only))


def training_state() -> Rules:
    """What training with TensorFlow leaves in a checkpoint beside the weights."""
    moments = "a moment of the optimizer, which belongs to the training it was saved from"
    slots = (
        *("*/adam_m", "*/adam_v", "*/lamb_m", "*/lamb_v"),  # of BERT's, ELECTRA's and Funnel's own optimizers
        *("*/Adam", "*/Adam_1", "*/LAMB", "*/LAMB_1", "beta1_power", "beta2_power"),  # of tf.compat.v1's slots
        *("*/AdamWeightDecayOptimizer", "*/AdamWeightDecayOptimizer_1"),
        "*/.OPTIMIZER_SLOT/*",  # of tf.train.Checkpoint
    )
    return (
        *(rule for slot in slots for rule in drop(slot, moments)),
        *drop("global_step", "how many steps the training had taken"),
        *drop("save_counter/.ATTRIBUTES/VARIABLE_VALUE", "how often the training was saved"),
    )


def required(config: Config, option: str) -> Any:
    """An option by which a layout numbers its layers; ConvertError if the configuration does not say it."""
    if option not in config:
        raise ConvertError(f'config.json does not say "{option}", by which this layout numbers its layers')
    return config[option]


# The algebra of tables.


def active(rules: Rules, config: Config) -> Rules:
    """The rules for one configuration: those of its architecture, without the aliases that it unties."""
    chosen = {name for rule in rules for name in rule.only} & set(config.get("architectures") or ())
    ours = [rule for rule in rules if not (rule.only and chosen) or chosen & set(rule.only)]
    ours = [_due(rule) if chosen & set(rule.only) else rule for rule in ours]
    loose = [replace(rule, op=_loosened(rule.op, config).sized(config)) for rule in ours]
    held = [rule for rule in loose if isinstance(rule.op, (Alias, Drop)) or None not in (rule.source, rule.target)]
    return tuple(replace(rule, numbers=rule.numbers(config)) if callable(rule.numbers) else rule for rule in held)


def _due(rule: Rule) -> Rule:
    """The rule in an architecture that it is limited to: an alias that no name announces stands beside its tensor."""
    if not isinstance(rule.op, Alias) or rule.op.beside is not None:
        return rule
    return replace(rule, op=replace(rule.op, beside=rule.op.of))


def _loosened(op: Keep, config: Config) -> Keep:
    """The op, or what an alias does to a tensor of its own where the configuration unties it."""
    untied = isinstance(op, Alias) and op.option is not None and config.get(op.option) is False
    return op.op if isinstance(op, Alias) and untied else op


def current(rules: Rules) -> Rules:
    """The rules without names of the past: those to write by."""
    return tuple(rule for rule in rules if not rule.legacy)


def inverse(rules: Rules) -> Rules:
    """The table read from right to left."""
    names = {rule.source: rule.target for rule in current(rules)}

    def turned(op: Keep) -> Keep:
        back = op.inverse()
        if not isinstance(back, Alias):
            return back
        return replace(back, of=_made_of(back.of, names), beside=back.beside and _made_of(back.beside, names))

    def back(rule: Rule) -> Rule:
        pairs = _pairs(rule)
        numbers = pairs and tuple((theirs, ours) for ours, theirs in pairs)
        return replace(rule, source=rule.target, target=rule.source, op=turned(rule.op), numbers=numbers)

    return tuple(map(back, rules))


def _made_of(name: str, names: Mapping[str | None, str | None]) -> str:
    """The target of a name by the rules source → target, of which one may have {} where the name has a number.

    KeyError where there is none.
    """
    if name in names:
        return str(names[name])
    patterns = ((re.escape(source).replace(r"\{\}", r"(\d+)"), target) for source, target in names.items() if source)
    for pattern, target in patterns:
        if found := re.fullmatch(pattern, name):
            return str(target).format(*found.groups())
    raise KeyError(f"{name}, which an alias names, is the source of no rule")


def _pairs(rule: Rule) -> Pairs | None:
    assert not callable(rule.numbers), "rules are made active before they are turned or joined"
    return rule.numbers


def compose(first: Rules, second: Rules) -> Rules:
    """`first`, then `second`, which starts from the names that `first` ends in."""
    onward: dict[str, list[Rule]] = {}
    for rule in second:
        if rule.source:
            onward.setdefault(rule.source, []).append(rule)
    joined = [_joined(rule, follower) for rule in first if rule.target for follower in onward.get(rule.target, ())]
    ends = (*(rule for rule in first if not rule.target), *(rule for rule in second if not rule.source))
    drops = (rule for rule in ends if isinstance(rule.op, Drop))
    return (*(rule for rule in joined if rule.source or rule.target), *drops)


def _joined(first: Rule, second: Rule) -> Rule:
    here, there = _pairs(first), _pairs(second)
    numbers = there if here is None else here
    if here is not None and there is not None:
        onward = dict(there)
        numbers = tuple((ours, onward[hub]) for ours, hub in here if hub in onward)
    only, op = first.only or second.only, then(first.op, second.op)
    return Rule(first.source, second.target, op, only, numbers, legacy=first.legacy)


def numbered(rules: Rules) -> Rules:
    """The rules with `numbers` spelled out, one for each pair; no `{}` is left in them."""
    return tuple(spelled for rule in rules for spelled in _spelled(rule))


def _spelled(rule: Rule) -> Rules:
    pairs = _pairs(rule)
    if pairs is None:
        return (rule,)
    plain = replace(rule, numbers=None)
    return tuple(_filled(plain, ours, theirs) for ours, theirs in pairs)


def _filled(rule: Rule, ours: Numbers, theirs: Numbers) -> Rule:
    """The rule with these numbers in its names."""
    op = rule.op
    if isinstance(op, Alias):
        op = replace(op, beside=op.beside and op.beside.format(*ours))
    source, target = rule.source and rule.source.format(*ours), rule.target and rule.target.format(*theirs)
    return replace(rule, source=source, target=target, op=op)
