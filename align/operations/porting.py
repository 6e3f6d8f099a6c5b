"""What a new architecture's torch file does when it is built and run."""

import importlib.util
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from align.edges import ROOT
from align.errors import CannotCompareError
from align.record import Record
from align.session import Session


def look(
    session: Session, path: str, name: str, config: str | None, words: Mapping[str, Any], batch: str
) -> dict[str, Any]:
    """Build the class `name` of the file in float64, from the dataclass `config` of `words` or from these, and run it.

    "outputs" is what it returns, each tensor's shape by its name or number, "ways" how to get at each ("[0]",
    ".logits", "" for a tensor alone), "returns" the type's name. The tensors of its state dict are described as by
    `Session.describe_parameters`, the "modules" by class, width and the names of their own tensors; "counts" are the
    tensors that hold no floats.
    """
    backend = session.backend
    before = backend.default_dtype("float64")
    try:
        module = _imported(Path(path))
        given = [getattr(module, config)(**words)] if config else []
        model = getattr(module, name)(*given, **({} if config else words))
        backend.set_training(model, False)
        returned = backend.forward(model, Record(batch))
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise CannotCompareError(f"{Path(path).name}:{name} does not run with {dict(words)}: {text[:300]}") from error
    finally:
        backend.default_dtype(before)
    tensors = {key: (way, value) for key, way, value in _parts(returned) if backend.is_tensor(value)}
    described = session.describe_parameters(model)
    kinds = {name: backend.to_numpy(tensor).dtype.kind for name, tensor in backend.parameters(model)}
    return described | {
        "returns": type(returned).__name__,
        "outputs": {key: list(value.shape) for key, (_, value) in tensors.items()},
        "ways": {key: way for key, (way, _) in tensors.items()},
        "counts": [name for name, kind in kinds.items() if kind != "f"],
        "modules": {n: _described(m) for n, m in backend.modules(model) if n != ROOT},
    }


def _imported(path: Path) -> Any:
    name = f"_new_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def _parts(returned: Any) -> Iterator[tuple[str, str, Any]]:
    """The name of every part of what was returned, the code that gets at it, and the part."""
    if isinstance(returned, Mapping):
        yield from ((key, f'["{key}"]', value) for key, value in returned.items())
    elif isinstance(returned, (list, tuple)):
        yield from ((str(number), f"[{number}]", value) for number, value in enumerate(returned))
    elif hasattr(returned, "__dataclass_fields__"):
        yield from ((name, f".{name}", value) for name, value in vars(returned).items())
    else:
        yield "", "", returned


def _described(module: Any) -> dict[str, Any]:
    own = [name for name, _ in module.named_parameters(recurse=False)]
    return {"class": type(module).__name__, "own": own, "width": getattr(module, "out_features", None)}
