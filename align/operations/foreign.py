"""What the comparison of two foreign modules asks of a session: load one, say what it is made of, and see it by the
names of the other side.
"""

import importlib
import inspect
import json
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from align.edges import ROOT
from align.errors import CannotCompareError
from align.foreign.adapter import WIDE, Adapter, Wiring
from align.mapping.links import Map
from align.record import Record
from align.session import Session


def look(session: Session, target: str) -> dict[str, Any]:
    """What `package.module:Class` is, without building it: the words it is built with.

    "config" holds the defaults of its configuration class, if it has one (an attribute `config_class` whose instances
    have `to_dict`), "synonyms" that class's own other words for them.
    """
    made = _target(target)
    config = getattr(made, "config_class", None)
    facts: dict[str, Any] = {"config": None, "base": {}, "words": [] if config is not None else _words(made)}
    if config is not None:
        try:
            facts["config"] = _plain(config().to_dict())
        except Exception as error:
            raise CannotCompareError(f"{config.__name__} has no defaults to start from: {_brief(error)}") from error
        facts["synonyms"] = dict(getattr(config, "attribute_map", {}))
        facts["base"] = _base(config)
        facts["open"] = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(config).parameters.values())
    return facts


def build(session: Session, target: str, words: Mapping[str, Any], seed: int = 0) -> dict[str, Any]:
    """Build the target with `words` (of its configuration class, if it has one) in float64, and describe it."""
    made = _target(target)
    backend = session.backend
    backend.seed(seed)
    before = backend.default_dtype(WIDE)
    try:
        with backend.widened():
            model = _made(made, words)
    except Exception as error:
        raise CannotCompareError(f"{target} cannot be built with {json.dumps(words)}: {_brief(error)}") from error
    finally:
        backend.default_dtype(before)
    if not backend.is_module(model):
        raise CannotCompareError(f"{target} gave a {type(model).__name__}, not a module of {backend.name}")
    backend.cast(model, WIDE)
    return adopt(session, model) | {"config": _plain(getattr(model, "config", None) and _config_of(model)) or {}}


def adopt(session: Session, model: Any) -> dict[str, Any]:
    """Work on a live module, which may be foreign; `Session.adopt` with what a map is made from."""
    adapter = session.backend if isinstance(session.backend, Adapter) else Adapter(session.backend)
    adapter.wiring, session.layout = Wiring(), None
    session.backend = adapter  # type: ignore[assignment]
    facts = session.adopt(model)
    adapter.own, adapter.rounded = session.weights, _round_eps(session, model)
    return facts | {"modules": _modules(session, model), "forward": _words(adapter.function(model))}


def release(session: Session) -> None:
    """Give an adopted model back as it came."""
    adapter = session.backend
    assert isinstance(adapter, Adapter)
    for module, name, value in adapter.rounded:
        setattr(module, name, value)
    session.take(adapter.own)
    session.release()
    session.backend = adapter.plain


def _round_eps(session: Session, model: Any) -> list[tuple[Any, str, float]]:
    """Round every eps to float32, as Paddle's kernels do silently; returns what they were."""
    before = [
        (module, name, value)
        for _, module in session.backend.modules(model)
        for name, value in vars(module).items()
        if "eps" in name and isinstance(value, float)
    ]
    for module, name, value in before:
        setattr(module, name, float(np.float32(value)))
    return before


def _modules(session: Session, model: Any) -> list[dict[str, Any]]:
    """Every module in the order of registration: its name, class, whether its weight is (inputs, outputs), whether it
    is an embedding or a linear map by its class, and the names of its own tensors.
    """
    backend = session.backend
    names = dict.fromkeys(name for name, _ in backend.parameters(model))
    found = []
    for name, module in backend.modules(model):
        prefix = "" if name == ROOT else f"{name}."
        own = [n for n in names if n.startswith(prefix) and "." not in n[len(prefix) :]]
        found.append(
            {"name": name, "class": type(module).__name__, "transposed": backend.is_transposed(module), "own": own}
        )
    return found


def fill(session: Session, weights: str) -> None:
    """Take the record `weights`, in this side's own names and layout, as the model's weights; others stay."""
    session.take(Record(weights).items)


def fill_own(session: Session) -> None:
    """Take the weights that the model had when it was built or adopted as its weights again."""
    session.take(session.backend.own)  # type: ignore[attr-defined]


def fill_mapped(session: Session, weights: str, links: list[dict[str, Any]]) -> None:
    """Take the record `weights`, in torch's names and layout, through a map as this side's weights; what the map does
    not name stays as the model made it.
    """
    record, found = Record(weights), Map.from_json(links)
    mapped = {name for link in found.links for name in link.paddle}
    own = [(name, value) for name, value in session.backend.own() if name not in mapped]  # type: ignore[attr-defined]
    session.take(lambda: [*own, *found.to_paddle(record)], found)


def wire(session: Session, **wiring: Any) -> None:
    """See the model by other names from now on (see `adapter.Wiring`)."""
    session.backend.wiring = Wiring(**wiring)  # type: ignore[attr-defined]


def describe(session: Session) -> dict[str, dict[str, Any]]:
    """The classes of all modules by their canonical names."""
    return {"kinds": session.describe_modules()}


def _target(target: str) -> Any:
    package, _, name = target.partition(":")
    if not (package and name):
        raise CannotCompareError(f"{target}: name a class or factory as package.module:Name")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(package)
    except Exception as error:  # whatever a module does when it is imported
        raise CannotCompareError(f"{target}: cannot import {package}: {_brief(error)}") from error
    try:
        found: Any = module
        for part in name.split("."):
            found = getattr(found, part)
    except (AttributeError, RuntimeError) as error:
        raise CannotCompareError(f"{target}: {package} has no {name}") from error
    if not callable(found):
        raise CannotCompareError(f"{target} is no class and no function")
    return found


def _made(made: Any, words: Mapping[str, Any]) -> Any:
    config = getattr(made, "config_class", None)
    return made(**words) if config is None else made(config(**words))


def _words(function: Any) -> list[dict[str, Any]]:
    """The parameters of a function that can be given by name."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    usable = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    return [{"name": p.name, "required": p.default is p.empty} for p in usable]


def _base(config: Any) -> dict[str, Any]:
    """The defaults that the configuration class has from the classes it derives from."""
    found: dict[str, Any] = {}
    for parent in reversed(config.__mro__[1:]):
        if hasattr(parent, "to_dict"):
            try:
                found |= parent().to_dict()
            except Exception:
                continue
    return _plain(found)


def _config_of(model: Any) -> Any:
    config = model.config
    return config.to_dict() if hasattr(config, "to_dict") else vars(config) if hasattr(config, "__dict__") else {}


def _plain(value: Any) -> Any:
    """What JSON can say of a value; what it cannot is left out."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items() if v is None or _plain(v) is not None}
    if hasattr(value, "to_dict"):
        return _plain(value.to_dict())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if isinstance(value, (bool, int, float, str)) else None


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
