"""Number formats with fewer digits, made without a framework."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np


def _keep_bits(x: np.ndarray, bits: int, nearest: bool) -> np.ndarray:
    """`x` as float32 with only `bits` of its 23 bits of mantissa, rounded to nearest even or cut off."""
    lost = 23 - bits
    raw = np.ascontiguousarray(x, np.float32).view(np.uint32)
    if nearest:
        raw = raw + (np.uint32((1 << (lost - 1)) - 1) + ((raw >> np.uint32(lost)) & np.uint32(1)))
    return (raw & np.uint32((0xFFFFFFFF << lost) & 0xFFFFFFFF)).view(np.float32).astype(np.float64)


# By what is done, and to which format; the first of two that agree is named first.
_FORMATS: Mapping[tuple[str, str], Callable[[np.ndarray], np.ndarray]] = {
    ("rounded to", "float32"): lambda x: x.astype(np.float32).astype(np.float64),
    ("rounded to", "float16"): lambda x: x.astype(np.float16).astype(np.float64),
    ("rounded to float32 and then to", "float16"): lambda x: x.astype(np.float32).astype(np.float16).astype(np.float64),
    ("rounded to", "TF32"): lambda x: _keep_bits(x, 10, True),
    ("rounded to", "bfloat16"): lambda x: _keep_bits(x, 7, True),
    ("cut off to", "TF32"): lambda x: _keep_bits(x, 10, False),
    ("cut off to", "bfloat16"): lambda x: _keep_bits(x, 7, False),
}


def roundings(*arrays: np.ndarray) -> Iterator[tuple[str, list[np.ndarray]]]:
    """The arrays in each format, and what was done to them; where several formats agree on these arrays, all are
    named.
    """
    made: list[tuple[str, list[str], list[np.ndarray]]] = []
    for (verb, name), cut in _FORMATS.items():
        values = [cut(array) for array in arrays]
        twin = next((names for _, names, seen in made if all(map(np.array_equal, seen, values))), None)
        if twin is None:
            made.append((verb, [name], values))
        elif name not in twin:
            twin.append(name)
    for verb, names, values in made:
        yield f"{verb} {' or '.join(names)}", values
