"""Bugs in modules of the framework's own classes, in what a model is given, and in the options it was built with."""

import ast
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from align.edges import ROOT
from align.selftest import tensors
from align.selftest.mutation import Mutation
from align.selftest.operators.scope import ACTIVATIONS, NORMS, Scope
from align.selftest.sabotage import override, set_attributes
from align.selftest.site import Site
from align.selftest.source import read, units
from align.session import Session
from fake_data import batch_keys

Forward = Callable[..., Any]  # (module, original forward, *its arguments)


def mutations(site: Site) -> list[Mutation]:
    """Every kind at its places."""
    kinds = (_norms, _activations, _softmax, _tables, _linears, _dropouts, _inputs, _in_place, _options)
    return [mutation for kind in kinds for mutation in kind(site)]


def places(site: Site, *classes: str) -> Iterator[tuple[Site, str]]:
    """A module for each part that these classes play in any task, with the first task that has it."""
    seen: set[str] = set()
    for task in site.tasks:
        here = site.at(task)
        roles = here.roles(*classes)
        yield from ((here, name) for role, name in roles.items() if role not in seen)
        seen |= roles.keys()


def replaced(kind: str, name: str, here: Site, path: str, forward: Forward, explained: str = "") -> Mutation:
    """A module with another forward."""

    def apply(session: Session) -> None:
        override(session, path, forward)

    return Mutation(kind, name, "forward", path, apply, explained, here.task)


# Norms ---------------------------------------------------------------------------------------------------------------


def _norms(site: Site) -> Iterator[Mutation]:
    found = list(places(site, *NORMS))
    everywhere = site.of_class(*NORMS)
    if everywhere:
        yield _eps("FW01", "eps_1e-5_everywhere", site, everywhere, 1e-5)
    for (here, path), (kind, eps) in zip(_spread(found, len(_EPS)), _EPS, strict=False):
        yield _eps(kind, f"eps_{eps:g}", here, [path], eps)
    for (here, path), (kind, name, options) in zip(_spread(found, len(_NORMS)), _NORMS, strict=False):
        yield replaced(kind, name, here, path, norm_by_hand(**options), "variance|eps|mean|centred|norm")
    for here, path in _spread(found, 1):
        yield replaced("FW69", "norm_in_float16", here, path, _in_float16)
    chains = [(here, path) for here, path in places(site, "Sequential") if _norm_in(here, path)]
    for here, path in chains[:1]:
        yield replaced("FW50", "no_norm", here, path, _without(_norm_in(here, path)))


_EPS = (("FW03", 1e-7), ("FW03", 1e-8), ("FW02", 1e-5), ("FW02", 1e-6))
_NORMS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("FW04", "unbiased_variance", {"unbiased": True}),
    ("FW05", "eps_outside_the_root", {"outside": True}),
    ("FW06", "mean_not_removed", {"centred": False}),
    ("FW07", "gamma_plus_1", {"more": 1.0}),
)


def _eps(kind: str, name: str, here: Site, paths: list[str], eps: float) -> Mutation:
    def apply(session: Session) -> None:
        for path in paths:
            set_attributes(session, path, **{"eps" if session.backend.name == "torch" else "_epsilon": eps})

    return Mutation(kind, name, "forward", paths[0], apply, "eps", here.task)


def norm_by_hand(
    unbiased: bool = False, outside: bool = False, centred: bool = True, more: float = 0.0, one_pass: bool = False
) -> Forward:
    """LayerNorm written out; each option but `one_pass` makes it another function.

    `unbiased`: the variance over n − 1; `outside`: eps added to the deviation; not `centred`: a root-mean-square norm;
    `more` is added to the weight; `one_pass`: the variance as E[x²] − E[x]².
    """

    def forward(self: Any, original: Any, x: Any) -> Any:
        eps = self.eps if hasattr(self, "eps") else self._epsilon
        mean = x.mean(-1, keepdim=True) if centred else x.mean(-1, keepdim=True) * 0
        variance = ((x - mean) ** 2).sum(-1, keepdim=True) / (x.shape[-1] - unbiased)
        if one_pass:
            variance = (x * x).mean(-1, keepdim=True) - mean * mean
        deviation = variance.sqrt() + eps if outside else (variance + eps).sqrt()
        return (x - mean) / deviation * (self.weight + more) + self.bias

    return forward


def _norm_in(here: Site, chain: str) -> str:
    """The name of the norm in a chain of modules, "" if there is none."""
    norms = [child for child in here.children(chain) if here.kinds[child]["class"] in NORMS]
    return norms[0].rpartition(".")[2] if norms else ""


def _without(left_out: str) -> Forward:
    def forward(self: Any, original: Any, x: Any) -> Any:
        for name, step in self.named_children():
            x = x if name == left_out else step(x)
        return x

    return forward


def _in_float16(self: Any, original: Any, x: Any) -> Any:
    return tensors.through(original(x), "float16")


def _spread(found: list[Any], count: int) -> list[Any]:
    """`count` of them in turn, from the middle on."""
    start = len(found) // 2
    return [found[(start + i) % len(found)] for i in range(count)] if found else []


# Activations, softmax ------------------------------------------------------------------------------------------------


def _activations(site: Site) -> Iterator[Mutation]:
    for number, (here, path) in enumerate(places(site, *ACTIVATIONS)):
        facts = here.kinds[path]
        if facts["class"] == "GELU":
            tanh = facts.get("approximate") != "tanh"
            name = "gelu_by_tanh" if tanh else "gelu_by_erf"
            yield replaced("FW14" if number else "FW13", name, here, path, gelu_by_hand(tanh), "gelu|tanh|erf")
        if number == 0:
            yield replaced("FW15", "quick_gelu", here, path, _quick_gelu, "(?i)quick")
            yield replaced("FW14", "relu", here, path, _relu, "(?i)relu")
        yield replaced("FW16", "not_activated", here, path, _identity, "(?i)identity|activation|linear")


def gelu_by_hand(tanh: bool) -> Forward:
    return lambda self, original, x: tensors.gelu(x, tanh)


def _quick_gelu(self: Any, original: Any, x: Any) -> Any:
    return x * tensors.framework_of(x).sigmoid(1.702 * x)


def _relu(self: Any, original: Any, x: Any) -> Any:
    return tensors.framework_of(x).nn.functional.relu(x)


def _identity(self: Any, original: Any, x: Any) -> Any:
    return x * 1


def _softmax(site: Site) -> Iterator[Mutation]:
    for here, path in list(places(site, "Softmax"))[:1]:
        yield replaced("FW18", "over_queries", here, path, lambda self, _, x: tensors.softmax(x, -2), "softmax|axis")
        yield replaced("FW27", "1e-9_in_the_denominator", here, path, lambda self, _, x: tensors.softmax(x, -1, 1e-9))
        yield replaced("FW69", "softmax_in_float16", here, path, _in_float16)


# Tables, Linears, dropout --------------------------------------------------------------------------------------------


def _tables(site: Site) -> Iterator[Mutation]:
    for here, path in list(places(site, "Embedding"))[:2]:
        yield replaced("FW47", "row_0_zeroed", here, path, _row_0_zeroed, "pad|row|zero")
        yield replaced("TK02", "next_row", here, path, _next_row)


def _row_0_zeroed(self: Any, original: Any, ids: Any) -> Any:
    rows = original(ids)
    return rows * tensors.cast(ids != 0, rows.dtype)[..., None]


def _next_row(self: Any, original: Any, ids: Any) -> Any:
    return original((ids + 1) % self.weight.shape[0])


def _linears(site: Site) -> Iterator[Mutation]:
    found = [(here, path) for here, path in places(site, "Linear") if f"{path}.bias" in here.shapes]
    for here, path in (*found[:6], *found[6:][-1:]):
        yield without_bias("FW51", here, path)
    for here, path in _spread(found, 1):
        yield replaced("FW68", "tf32", here, path, _tf32, "(?i)tf32|round|narrow|bits")


def without_bias(kind: str, here: Site, path: str) -> Mutation:
    """A Linear that has lost its bias; in torch it is still there to be written to the weights, but not used."""

    def apply(session: Session) -> None:
        if session.backend.name == "torch":
            override(session, path, lambda self, original, x: original(x) - self.bias)
        else:
            set_attributes(session, path, bias=None)

    return Mutation(kind, "no_bias", "forward", path, apply, "bias", here.task)


def _tf32(self: Any, original: Any, x: Any) -> Any:
    """With 10 bits of each factor, as a GPU multiplies."""
    linear = tensors.framework_of(x).nn.functional.linear
    return linear(tensors.cut(x), tensors.cut(self.weight), self.bias)


def _dropouts(site: Site) -> Iterator[Mutation]:
    found = [(here, path) for here, path in places(site, "Dropout") if here.kinds[path]["p"] > 0 and path in here.runs]
    for here, path in (*found[:2], *found[2:][-1:]):
        yield replaced("FW53", "active", here, path, _active, "(?i)dropout")
    for here, path in found[1:2]:
        yield replaced("FW54", "training_passed_as_axis", here, path, _rows_dropped, "(?i)dropout")
    for here, path in found[-1:]:
        yield replaced("FW55", "downscaled_in_eval", here, path, _downscaled, "(?i)dropout|scale")


def _active(self: Any, original: Any, x: Any) -> Any:
    return tensors.framework_of(x).nn.functional.dropout(x, self.p, training=True)


def _rows_dropped(self: Any, original: Any, x: Any) -> Any:
    drawn = tensors.framework_of(x).rand([x.shape[0]])
    kept = tensors.cast(drawn >= drawn.mean(), x.dtype)  # some, and never all or none of several
    return x * kept.reshape([-1] + [1] * (x.ndim - 1)) / (1 - self.p)


def _downscaled(self: Any, original: Any, x: Any) -> Any:
    return x * (1 - self.p)


# What the model is given, and does to it -----------------------------------------------------------------------------


def _inputs(site: Site) -> Iterator[Mutation]:
    """The model itself reads its arguments wrongly."""
    changes: tuple[tuple[str, str, str, Callable[[Any], Any]], ...] = (
        ("FW22", "attention_mask", "all_attended", lambda mask: mask * 0 + 1),
        ("FW21", "attention_mask", "inverted", lambda mask: 1 - mask),
        ("FW45", "token_type_ids", "all_of_type_0", lambda types: types * 0),
        ("FW46", "token_type_ids", "first_of_type_0", _first_of_type_0),
        ("TK02", "input_ids", "last_id_for_the_one_before", lambda ids: ids.clip(max=int(ids.max()) - 1)),
        ("FW32", "input_ids", "rows_in_reverse", lambda ids: tensors.framework_of(ids).flip(ids, [0])),
    )
    for kind, argument, name, change in changes:
        if argument in batch_keys(site.model, site.task):
            yield replaced(kind, f"{argument}_{name}", site, ROOT, _with_argument(argument, change))


def _first_of_type_0(types: Any) -> Any:
    rest = types * 0 + 1
    rest[..., 0] = 0
    return types * rest


def _with_argument(argument: str, change: Callable[[Any], Any]) -> Forward:
    def forward(self: Any, original: Any, *arguments: Any, **named: Any) -> Any:
        bound = inspect.signature(original).bind(*arguments, **named)
        bound.arguments[argument] = change(bound.arguments[argument])
        return original(*bound.args, **bound.kwargs)

    return forward


def _in_place(site: Site) -> Iterator[Mutation]:
    """A module doubles its input under the hands of its caller, who goes on to use it."""
    found = [(unit.site, path) for unit in units(site) for path in _given_what_is_used_again(Scope(unit))]
    for here, path in found[:2]:
        yield replaced("FW71", "changes_its_input", here, path, _doubling)


def _given_what_is_used_again(scope: Scope) -> Iterator[str]:
    reads = [n for n in ast.walk(scope.unit.tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]
    for node in ast.walk(scope.unit.tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=child), args=[ast.Name(id=name)]):
                if scope.child_class(node) in ("Linear", "Sequential") and _is_sum_or_call_of(scope, name, reads):
                    yield child if scope.unit.module == ROOT else f"{scope.unit.module}.{child}"


def _is_sum_or_call_of(scope: Scope, name: str, reads: list[ast.Name]) -> bool:
    """Whether the name is also a term of a sum, or handed to another module besides."""
    return any(
        isinstance(up := scope.parent(n), ast.BinOp) or (isinstance(up, ast.Call) and len(up.args) > 1 and n in up.args)
        for n in reads
        if n.id == name
    )


def _doubling(self: Any, original: Any, x: Any) -> Any:
    inner = original(x)
    tensors.in_place_twice(x)
    return inner


# Options -------------------------------------------------------------------------------------------------------------


def _options(site: Site) -> Iterator[Mutation]:
    """An option of the configuration that one module was not told of."""
    source = read(site.model, site.side)
    seen: set[tuple[str, str]] = set()
    for task in site.tasks:
        here = site.at(task)
        for class_name, path in here.middles().items():
            if class_name not in source.classes:
                continue
            for attribute, key in source.options(class_name).items():
                value = _other_value(attribute, here.config.get(key), here)
                if value is not None and (class_name, attribute) not in seen:
                    seen.add((class_name, attribute))
                    yield _option(here, path, attribute, value)


def _other_value(attribute: str, value: Any, site: Site) -> Any:
    match value:
        case bool():
            return not value
        case float():
            return value * 1.5
        case int() if "heads" in attribute and f"{value}" not in ("1",):
            return value // 2 if value % 2 == 0 else 1
        case tuple() if len(set(value)) > 1 and all(isinstance(v, int) for v in value):
            return (min(value),) * len(value)
    return None


def _option(here: Site, path: str, attribute: str, value: Any) -> Mutation:
    def apply(session: Session) -> None:
        set_attributes(session, path, **{attribute: value})

    return Mutation("CV15", f"{attribute}_{value}", "forward", path, apply, "", here.task)
