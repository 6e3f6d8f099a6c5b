"""Operators: small wrong changes of code, each at every place where it would be a bug that people have made."""

from align.selftest.operators import attention, decisions, layers, sequences, units
from align.selftest.operators.scope import Change, Operator, Scope

OPERATORS: tuple[Operator, ...] = (
    *attention.OPERATORS,
    *layers.OPERATORS,
    *sequences.OPERATORS,
    *decisions.OPERATORS,
    *units.OPERATORS,
)

__all__ = ["OPERATORS", "Change", "Operator", "Scope"]
