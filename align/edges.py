"""The names of edges: the tensors that enter and leave modules.

An edge is named `module:in0`, `module:out`, or `module:out.logits`. `module:arg0` is a plain number among the
arguments, `module:after0` what an input has become if the module changed it in place. A module that runs more than
once names its later calls `module@2:in0`. The model itself is `<root>`.
"""

ROOT = "<root>"


def edge_name(module: str, call: int, leaf: str) -> str:
    """The name of one tensor of one call: `edge_name("encoder", 2, "in0")` is `encoder@2:in0`."""
    return f"{module}@{call}:{leaf}" if call > 1 else f"{module}:{leaf}"


def module_of(edge: str) -> str:
    """The dotted module name of an edge, without the call number."""
    return edge.partition(":")[0].partition("@")[0]


def call_of(edge: str) -> str:
    """The part of an edge's name that it shares with all edges of the same call."""
    return edge.partition(":")[0]


def is_input(edge: str) -> bool:
    """Whether the edge enters its module."""
    return edge.partition(":")[2].startswith(("in", "arg"))


def is_change(edge: str) -> bool:
    """Whether the edge is an input after its module has changed it in place."""
    return edge.partition(":")[2].startswith("after")


def ancestors(module: str) -> list[str]:
    """The enclosing modules of `module`, nearest first, ending with the model itself."""
    if module == ROOT:
        return []
    parts = module.split(".")
    return [".".join(parts[:n]) for n in range(len(parts) - 1, 0, -1)] + [ROOT]


def inside(module: str, composite: str) -> bool:
    """Whether `module` lies strictly inside `composite`."""
    return module != composite and (composite == ROOT or module.startswith(composite + "."))
