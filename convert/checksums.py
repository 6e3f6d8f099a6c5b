"""Checksums of streams, and how that of a whole follows from those of its parts.

CRC-32C (Castagnoli, reflected polynomial 0x82F63B78) is what processors compute themselves and what TF bundles hold;
CRC-32 (0xEDB88320) is what zip archives hold. A checksum of two stretches in a row is that of the first, advanced over
as many zero bytes as the second has, plus that of the second; to advance is to multiply by x^(8·length) modulo the
polynomial, over GF(2).
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from crc32c import crc32c
from isal.isal_zlib import crc32

Kind = Literal["crc32", "crc32c"]
UPDATE: dict[Kind, Callable[..., int]] = {"crc32": crc32, "crc32c": crc32c}  # (bytes, checksum so far) → checksum
POLYNOMIALS: dict[Kind, int] = {"crc32": 0xEDB88320, "crc32c": 0x82F63B78}
BLOCK = 1 << 18
ONE = 1 << 31  # the polynomial 1: bits are reflected, so the highest stands for x^0


def joined(kind: Kind, first: int, second: int, length: int) -> int:
    """The checksum of two stretches in a row, from those of each; `length` is the second's, in bytes."""
    return _times(kind, _power(kind, 8 * length), first) ^ second


def file_checksum(path: Path, kind: Kind = "crc32c") -> str:
    """The checksum of a file as text: `crc32c:` and eight hexadecimal digits."""
    checksum, block = 0, np.empty(BLOCK, np.uint8)
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):  # type: ignore[arg-type]
            checksum = UPDATE[kind](block[:count], checksum)
    return named(kind, checksum)


def named(kind: Kind, checksum: int) -> str:
    """`crc32c:0123abcd`."""
    return f"{kind}:{checksum:08x}"


@lru_cache(maxsize=4096)
def _power(kind: Kind, exponent: int) -> int:
    """x^exponent modulo the polynomial."""
    result, square = ONE, ONE >> 1
    while exponent:
        if exponent & 1:
            result = _times(kind, result, square)
        square = _times(kind, square, square)
        exponent >>= 1
    return result


def _times(kind: Kind, a: int, b: int) -> int:
    """The product of two polynomials of degree < 32 modulo the kind's."""
    product, polynomial = 0, POLYNOMIALS[kind]
    while a:
        if a & ONE:
            product ^= b
        a = (a << 1) & 0xFFFFFFFF
        b = (b >> 1) ^ (polynomial if b & 1 else 0)
    return product
