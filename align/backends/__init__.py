"""The frameworks, each behind one class (`protocol.Backend`) in one file that alone imports it.

A backend is found by its name, the stem of a file of this folder, or by a live module, whose class derives from one of
the framework's package. Backends from elsewhere are entry points of the group "plumbline.backends" (name: the
framework's package; value: the `Backend`), or are given to `register`.
"""

import importlib
import importlib.util
import pkgutil
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from align.backends.protocol import Backend
from align.errors import CannotCompareError
from align.sides import TITLES

__all__ = ["Backend", "backend_of", "get_backend", "register"]

ENTRY_POINTS = "plumbline.backends"
_VERSIONS = {"torch": "torch==2.13.0", "paddle": "paddlepaddle"}  # what pip is asked for
_registered: dict[str, Backend] = {}


def register(backend: Backend) -> None:
    """Make a backend known in this process, by its name and for the modules of its package."""
    _registered[backend.name] = backend


def get_backend(name: str) -> Backend:
    """The backend of one framework, imported now.

    Raises:
        CannotCompareError: there is none, or the framework is not installed in this interpreter.
    """
    if name in _registered:
        return _registered[name]
    if name in _elsewhere():
        return _elsewhere()[name].load()
    if name not in _here():
        raise CannotCompareError(
            f"there is no backend {name!r}; known: {', '.join(_packages())} (see docs/backends.md)"
        )
    if importlib.util.find_spec(name) is None:
        raise CannotCompareError(
            f"{TITLES.get(name, name)} is not installed in this interpreter: pip install {_VERSIONS.get(name, name)}, "
            f"or name another interpreter with --{name}-python"
        )
    return importlib.import_module(f"{__name__}.{name}").BACKEND


def backend_of(module: Any) -> str:
    """The name of the backend of a live module: that of the first class it derives from that a framework defines.

    Raises:
        CannotCompareError: it is a module of no framework that has a backend.
    """
    packages = _packages()
    for base in type(module).__mro__:
        for name, package in packages.items():
            if base.__module__ == package or base.__module__.startswith(f"{package}."):
                return name
    raise CannotCompareError(
        f"{type(module).__name__} is no module of a framework that has a backend ({', '.join(packages)}); "
        "docs/backends.md says how one is added"
    )


def _packages() -> dict[str, str]:
    """Every backend's name with the package of its framework's modules."""
    own = {name: name for name in (*_here(), *_elsewhere())}
    return own | {name: backend.package or name for name, backend in _registered.items()}


@cache
def _here() -> tuple[str, ...]:
    """The files of this folder that hold a backend; a framework bears the name of its package."""
    return tuple(module.name for module in pkgutil.iter_modules(__path__) if module.name not in ("protocol", "parts"))


@cache
def _elsewhere() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}
