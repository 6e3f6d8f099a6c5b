"""Bugs that leave the values of a network alone and change what it learns from them; and those of dropout."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from align.selftest.kinds.forward import places
from align.selftest.mutation import Mutation
from align.selftest.operators.scope import ACTIVATIONS, NORMS
from align.selftest.sabotage import module, override
from align.selftest.site import Site
from align.selftest.tensors import cast, framework_of
from align.session import Session

Forward = Callable[..., Any]  # (module, original forward, *its arguments)


def mutations(site: Site) -> list[Mutation]:
    """Every kind at its places."""
    kinds = (_stopped, _scaled, _tables, _tied, _frozen, _dropouts)
    return [mutation for kind in kinds for mutation in kind(site)]


def _changed(kind: str, name: str, here: Site, path: str, forward: Forward, explained: str = "") -> Mutation:
    def apply(session: Session) -> None:
        override(session, path, forward)

    return Mutation(kind, name, "backward", path, apply, explained, here.task)


def _one(site: Site, *classes: str, place: int = 0) -> Iterator[tuple[Site, str]]:
    """One module of these classes, the `place`-th by its part in the network."""
    found = list(places(site, *classes))
    if found:
        yield found[place % len(found)]


# Gradients that stop where they should not ---------------------------------------------------------------------------


def _stopped(site: Site) -> Iterator[Mutation]:
    gone = "no gradient|detached"
    for here, path in _one(site, "Linear", place=2):
        yield _changed("BW04", "output_detached", here, path, lambda self, original, x: original(x).detach(), gone)
        yield _changed("BW04", "numpy_round_trip", here, path, _round_trip, gone)
    for here, path in _one(site, "Linear", place=1):
        yield _changed("BW08", "weight_detached", here, path, _detached("weight"), gone)
    for here, path in _one(site, *NORMS, place=1):
        yield _changed("BW08", "gamma_detached", here, path, _detached("weight"), gone)
        yield _changed("BW04", "statistics_detached", here, path, _statistics_detached)
    for here, path in _one(site, "Softmax"):
        yield _changed("BW04", "probabilities_detached", here, path, _output_detached, gone)
    for here, path in _one(site, *ACTIVATIONS):
        yield _changed("BW02", "straight_through", here, path, _straight_through)
    layers = [name for name in site.kinds if name in site.runs and name.rpartition(".")[2].isdecimal()]
    layers = [name for name in layers if site.children(name)]
    if layers:
        yield _changed("BW04", "input_of_a_layer_detached", site, layers[len(layers) // 2], _first_detached, gone)


def _output_detached(self: Any, original: Any, *inputs: Any) -> Any:
    return original(*inputs).detach()


def _first_detached(self: Any, original: Any, first: Any, *rest: Any, **named: Any) -> Any:
    return original(first.detach(), *rest, **named)


def _round_trip(self: Any, original: Any, x: Any) -> Any:
    """Through NumPy and back, as people do to call a function that only the other side has."""
    array = original(x).detach().numpy()
    lib = framework_of(x)
    return lib.from_numpy(array) if lib.__name__ == "torch" else lib.to_tensor(array)


def _detached(parameter: str) -> Forward:
    """The parameter is used as a number: it stands before the registered one for the time of the call."""

    def forward(self: Any, original: Any, *inputs: Any) -> Any:
        self.__dict__[parameter] = getattr(self, parameter).detach()
        try:
            return original(*inputs)
        finally:
            del self.__dict__[parameter]

    return forward


def _statistics_detached(self: Any, original: Any, x: Any) -> Any:
    eps = self.eps if hasattr(self, "eps") else self._epsilon
    mean = x.mean(-1, keepdim=True).detach()
    deviation = (((x - mean) ** 2).mean(-1, keepdim=True) + eps).sqrt().detach()
    return (x - mean) / deviation * self.weight + self.bias


def _straight_through(self: Any, original: Any, x: Any) -> Any:
    return x + (original(x) - x).detach()


# Gradients of another size -------------------------------------------------------------------------------------------


def _scaled(site: Site) -> Iterator[Mutation]:
    for here, path in _one(site, "Linear", place=3):
        yield _changed("LO04", "gradient_doubled", here, path, _times(2.0), "2 times|doubled|scaled")
        yield _changed("LO04", "gradient_halved", here, path, _times(0.5), "0.5 times|scaled")
        yield _changed("OP11", "gradient_clamped_in_the_network", here, path, _clamped)
    for here in [site.at(task) for task in site.tasks if task == "sequence_classification"]:
        path = here.of_class("Linear")[-1]
        yield _changed("BW06", "bias_gradient_halved", here, path, _bias_gradient_halved, "0.5 times|scaled|sum")


def _times(factor: float) -> Forward:
    """The value as it is, the gradient times `factor`."""

    def forward(self: Any, original: Any, *inputs: Any) -> Any:
        y = original(*inputs)
        return y * factor + y.detach() * (1 - factor)

    return forward


def _clamped(self: Any, original: Any, x: Any) -> Any:
    y = original(x)
    y.register_hook(lambda gradient: gradient.clip(-1e-4, 1e-4))
    return y


def _bias_gradient_halved(self: Any, original: Any, x: Any) -> Any:
    return original(x) - 0.5 * (self.bias - self.bias.detach())


# Tables --------------------------------------------------------------------------------------------------------------


def _tables(site: Site) -> Iterator[Mutation]:
    for here, path in _one(site, "Embedding"):
        yield _changed("BW03", "row_without_gradient", here, path, _row_without_gradient, "row")
        yield _changed("BW07", "repeated_ids_not_summed", here, path, _first_occurrence)
    for here, path in _one(site, "Embedding", place=1):
        yield _changed(
            "BW04", "table_detached", here, path, _output_detached, "no gradient|detached|lacks the contribution of"
        )


def _where(kept: np.ndarray, y: Any) -> Any:
    """The value of y, and its gradient where `kept`."""
    mask = np.asarray(kept, np.float64)[..., None]
    lib = framework_of(y)
    mask = cast(lib.from_numpy(mask) if lib.__name__ == "torch" else lib.to_tensor(mask), y.dtype)
    return y * mask + y.detach() * (1 - mask)


def _row_without_gradient(self: Any, original: Any, ids: Any) -> Any:
    """As with `padding_idx` on a row that is in use: that of the commonest id."""
    found, counts = np.unique(ids.numpy(), return_counts=True)
    return _where(ids.numpy() != found[counts.argmax()], original(ids))


def _first_occurrence(self: Any, original: Any, ids: Any) -> Any:
    first = np.zeros(ids.numpy().size, bool)
    first[np.unique(ids.numpy().reshape(-1), return_index=True)[1]] = True
    return _where(first.reshape(ids.numpy().shape), original(ids))


# Sharing -------------------------------------------------------------------------------------------------------------


def _tied(site: Site) -> Iterator[Mutation]:
    for task in site.tasks:
        here = site.at(task)
        for name in list(here.tied)[:1]:
            path, _, leaf = name.rpartition(".")
            yield _changed("BW06", f"shared_{leaf}_learns_from_one_side", here, path, _detached(leaf), "contribution")
            if site.side == "paddle":  # a torch model without the tie is another model, whose weights have no table
                copied = _copied(path, leaf)
                yield Mutation("CV06", f"shared_{leaf}_copied", "backward", path, copied, "", here.task)


def _copied(path: str, parameter: str) -> Callable[[Session], None]:
    """A tensor of its own, to which the same values are loaded."""

    def apply(session: Session) -> None:
        layer = module(session, path)
        shared = getattr(layer, parameter)
        if session.backend.name == "torch":
            own = type(shared)(shared.detach().clone())
        else:
            own = layer.create_parameter(shared.shape, dtype=shared.dtype)
            own.set_value(shared)
        setattr(layer, parameter, own)
        load = session.load

        def loaded(weights: str, model: str) -> list[str]:
            problems = load(weights, model)
            given = session.weights
            name = f"{path}.{parameter}"
            owner = next(n for n, t in session.backend.parameters(session.model) if n != name and _same(t, shared))
            session.weights = lambda: [*given(), (name, dict(given())[owner])]
            return [line for line in problems if not line.startswith(f"{name}:")]

        session.load = loaded  # type: ignore[method-assign]

    return apply


def _same(one: Any, other: Any) -> bool:
    return one is other


# Parameters that do not learn ----------------------------------------------------------------------------------------


def _frozen(site: Site) -> Iterator[Mutation]:
    for classes, leaf in ((("Linear",), "weight"), (("Linear",), "bias"), (NORMS, "bias"), (("Embedding",), "weight")):
        for here, path in _one(site, *classes, place=1 if leaf == "weight" else 2):
            if (parameter := f"{path}.{leaf}") in here.trainable:
                name = f"{leaf}_of_{here.kinds[path]['class']}_frozen"
                owner = here.tied.get(parameter, parameter).rpartition(".")[0]
                yield Mutation("BW08", name, "backward", owner, _freeze(owner, leaf), "", here.task)


def _freeze(path: str, parameter: str) -> Callable[[Session], None]:
    def apply(session: Session) -> None:
        tensor = getattr(module(session, path), parameter)
        if session.backend.name == "torch":
            tensor.requires_grad_(False)
        else:
            tensor.stop_gradient = True

    return apply


# Dropout -------------------------------------------------------------------------------------------------------------


def _dropouts(site: Site) -> Iterator[Mutation]:
    active = [(here, path) for here, path in places(site, "Dropout") if here.kinds[path].get("p", 0) > 0]
    for (here, path), (kind, name, forward, explained) in zip(active * 2, _DROPOUTS, strict=False):
        yield _changed(kind, name, here, path, forward, explained)
    for here, path in active[:1]:
        yield Mutation("CV15", "dropout_0.2", "backward", path, _probability(path, 0.2), "", here.task)
        first = next(n for n in here.of_class("Dropout") if here.kinds[n].get("p", 0) > 0)
        yield Mutation("TR01", "model_left_in_evaluation", "backward", first, _in_evaluation, "", here.task)


def _whole_positions(self: Any, original: Any, x: Any) -> Any:
    """Paddle's `F.dropout(x, p, training)`, whose third argument is the axis."""
    return original(framework_of(x).ones_like(x[..., :1])) * x


_DROPOUTS: tuple[tuple[str, str, Forward, str], ...] = (
    ("FW52", "dropout_missing", lambda self, original, x: x, ""),
    ("FW52", "dropout_twice", lambda self, original, x: original(original(x)), ""),
    ("FW54", "whole_positions_dropped", _whole_positions, ""),
    ("FW55", "not_scaled_up", lambda self, original, x: original(x) * (1 - self.p), "0.9|scale"),
)


def _probability(path: str, p: float) -> Callable[[Session], None]:
    def apply(session: Session) -> None:
        module(session, path).p = p

    return apply


def _in_evaluation(session: Session) -> None:
    set_training = session.backend.set_training
    session.backend.set_training = lambda model, training: set_training(model, False)  # type: ignore[method-assign]
