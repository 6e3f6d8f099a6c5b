"""What single stages ask of a session, beyond its own methods: one file for each, `function(session, **arguments)`.

A client reaches them as "FILE.FUNCTION" (`client.submit("initial.draw", …)`). They run where the framework is, and see
it through the session's backend only.
"""

import importlib
from collections.abc import Callable
from typing import Any


def find(session: Any, method: str) -> Callable[..., Any]:
    """The operation that a request names: a method of the session, or "FILE.FUNCTION" of this folder."""
    file, dot, function = method.partition(".")
    if not dot:
        return getattr(session, method)
    operation = getattr(importlib.import_module(f"align.operations.{file}"), function)
    return lambda **arguments: operation(session, **arguments)
