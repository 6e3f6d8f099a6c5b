"""What the two sides are called.

In the harness, in files and in reports' data the reference is "torch" and the port "paddle", whatever they are made of;
people are told the framework.
"""

from collections.abc import Mapping
from typing import Any

SIDES = ("torch", "paddle")
TITLES = {"torch": "PyTorch", "paddle": "PaddlePaddle"}


def names(descriptions: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """What to call each side in a sentence, from what the sessions say of their models."""
    found = [str(descriptions.get(side, {}).get("framework", side)) for side in SIDES]
    if found[0] == found[1]:
        found = [f"{found[0]} (reference)", f"{found[1]} (port)"]
    return dict(zip(SIDES, found, strict=True))
