"""What stands at the end of a model file for the registry: configuration, variants, tasks, and a class for the task.

It is written in torch's words and translated with the rest, so that both files have the same of it.
"""

import ast
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from align import registry
from align.errors import CannotCompareError
from align.foreign.configs import TINY
from align.foreign.options import Kind, kind_of
from align.porting.options import TITLES
from align.porting.source import TorchModule, Word

_WIDTH = 120
_LOSS = ("CrossEntropy", "mean_of_kept")  # of our own Fastformer: Paddle's function is another
_STANDARD = (
    "from collections.abc import Mapping",
    "from dataclasses import asdict, dataclass, fields",
    "from typing import Any",
)
_TORCH = ("import torch", "from torch import Tensor, nn")


@dataclass(frozen=True)
class Names:
    """What the parts are called."""

    config: str
    task_class: str


def names_of(module: TorchModule, name: str, task: str) -> Names:
    """Names that the user's file has not taken."""
    config = module.config or "".join(part.capitalize() for part in name.split("_")) + "Config"
    own = module.name.removesuffix("Model")
    task_class = f"{own}For{TITLES[task]}"
    if task_class in module.file.classes:
        task_class += "WithLoss"
    return Names(config, task_class)


def tiny(module: TorchModule) -> dict[str, Any]:
    """A small configuration in the module's own words, sizes pairwise different, nothing dropped.

    Raises:
        CannotCompareError: an option has no default and means nothing that is known.
    """
    found: dict[str, Any] = {}
    for word in module.options:
        kind = kind_of(word.name)
        if kind and kind in TINY and (word.required or isinstance(word.default, int)):
            found[word.name] = TINY[kind]
        elif word.required:
            raise CannotCompareError(f"{module.where}: give its option {word.name} a default value")
    return found


def option_of(module: TorchModule, kind: Kind) -> str | None:
    """The module's own word for a size."""
    return next((word.name for word in module.options if kind_of(word.name) is kind), None)


def torch_text(module: TorchModule, name: str, task: str, names: Names, output: str) -> str:
    """The user's file with the registry's part behind it. `output` is how to get at what the forward computes: "[0]".

    Raises:
        CannotCompareError: the file uses a name that this part needs.
    """
    taken = {"VARIANTS", "TASKS", *(() if module.config else (names.config,))}
    taken |= {*_LOSS, "IGNORED"} if task != "backbone" else set()
    if clash := sorted(taken & module.file.names()):
        raise CannotCompareError(
            f"{module.file.path} defines {', '.join(clash)}, which the registry's part is to: rename"
        )
    text = _with_imports(_with_from_dict(module, names))
    parts = [*_config(module, names), _tables(module, task, names)]
    if task != "backbone":
        parts += _loss()
    parts.append(_task_class(module, task, names, output))
    return (
        text.rstrip()
        + f"\n\n\n# What the registry asks for, by `python -m align new {name}`.\n\n\n"
        + "\n\n\n".join(parts)
    )


def _with_imports(text: str) -> str:
    """The user's text with what the rest needs beside its own imports: Python's before torch's, torch's after."""
    tree = ast.parse(text)
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    bound = {ast.unparse(node) for node in imports}
    bound |= {f"from {n.module} import {a.name}" for n in imports if isinstance(n, ast.ImportFrom) for a in n.names}
    torch = [node for node in imports if ast.unparse(node).split()[1].partition(".")[0] == "torch"]
    lines = text.splitlines()
    lines[torch[-1].end_lineno : torch[-1].end_lineno] = _missing(_TORCH, bound)
    wanted, place = _missing(_STANDARD, bound), torch[0].lineno - 1
    while place and not lines[place - 1].strip():
        place -= 1
    before = lines[place - 1] if place else ""
    apart = [] if (before.startswith(("import ", "from ")) and "__future__" not in before) or not place else [""]
    lines[place:place] = [*apart, *wanted] if lines[place : place + 1] == [""] else [*apart, *wanted, ""]
    return "\n".join(lines) + "\n"


def _missing(needed: tuple[str, ...], bound: set[str]) -> list[str]:
    """The import lines that are needed, without the names that are bound already."""
    found = []
    for line in needed:
        start, _, listed = line.partition(" import ")
        names = [name for name in listed.split(", ") if f"{start} import {name}" not in bound]
        if listed and names:
            found.append(f"{start} import {', '.join(names)}")
        elif not listed and line not in bound:
            found.append(line)
    return found


def _from_dict(names: Names) -> str:
    return f'''\
    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "{names.config}":
        """Read the contents of a config.json. Raises ValueError("unsupported: …") for options that are not known."""
        known = {{field.name for field in fields(cls)}}
        unknown = {{key: value for key, value in raw.items() if key not in known | {{"architectures", "model_type"}}}}
        if unknown:
            raise ValueError(f"unsupported: {{unknown}}")
        return cls(**{{key: value for key, value in raw.items() if key in known}})
'''


def _with_from_dict(module: TorchModule, names: Names) -> str:
    if module.config is None:
        return module.file.text
    node = module.file.classes[module.config]
    if any(isinstance(n, ast.FunctionDef) and n.name == "from_dict" for n in node.body):
        return module.file.text
    lines = module.file.text.splitlines()
    lines[node.end_lineno : node.end_lineno] = ["", *_from_dict(names).rstrip().splitlines()]
    return "\n".join(lines) + "\n"


def _config(module: TorchModule, names: Names) -> Iterator[str]:
    if module.config is None:
        options = "\n".join(f"    {_field(word)}" for word in module.options)
        yield (
            f'@dataclass(frozen=True)\nclass {names.config}:\n    """The options of {module.name}."""\n\n{options}\n\n'
            f"{_from_dict(names).rstrip()}"
        )


def _field(word: Word) -> str:
    default = TINY[kind_of(word.name)] if word.required else word.default  # type: ignore[index]
    kind = word.annotation or ("Any" if default is None else type(default).__name__)
    return f"{word.name}: {kind} = {default!r}"


def _tables(module: TorchModule, task: str, names: Names) -> str:
    small = ", ".join(f'"{key}": {value!r}' for key, value in tiny(module).items())
    small = textwrap.fill(small, 110, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return (
        f'VARIANTS = {{\n    "tiny": {{\n{small},\n    }},\n    "default": {{}},\n}}\n'
        f'TASKS = {{"{task}": "{names.task_class}"}}'
    )


def _loss() -> Iterator[str]:
    text = registry.source("fastformer", "torch")
    pieces = {n.name: n for n in ast.parse(text).body if isinstance(n, (ast.ClassDef, ast.FunctionDef))}
    yield "IGNORED = -100  # the label of what no loss counts"
    yield from (str(ast.get_source_segment(text, pieces[name])) for name in _LOSS)


def _task_class(module: TorchModule, task: str, names: Names, output: str) -> str:
    labelled = task != "backbone"
    roles = {role: own for role, own in module.roles.items() if role != "labels"}
    optional = ["attention_mask", *(["token_type_ids"] if "token_type_ids" in roles else [])]
    optional += ["labels"] if labelled else []
    words = ["self", "input_ids: Tensor", *(f"{role}: Tensor | None = None" for role in optional)]
    signature = f"    def forward({', '.join(words)}) -> dict[str, Tensor]:"
    if len(signature) > _WIDTH:
        signature = "\n".join(
            ("    def forward(", *(f"        {word}," for word in words), "    ) -> dict[str, Tensor]:")
        )
    returned = '{"last_hidden_state": found}'
    if labelled:
        returned = '{"logits": found} if labels is None else {"logits": found, "loss": self.loss(found, labels)}'
    lines = [
        f"class {names.task_class}({module.name}):",
        f'    """{_about(module, labelled)}"""',
        "",
        f"    def __init__(self, config: {names.config}) -> None:",
        f"        super().__init__({'config' if module.config else '**asdict(config)'})",
        *(["        self.loss = CrossEntropy()"] if labelled else []),
        "",
        signature,
        f"        found = super().forward({', '.join(f'{own}={role}' for role, own in roles.items())}){output}",
        f"        return {returned}",
    ]
    return "\n".join(lines) + "\n"


def _about(module: TorchModule, labelled: bool) -> str:
    loss = " Given labels, it returns the loss too." if labelled else ""
    mask = "\n\n    Every batch has a mask; nothing comes of it here.\n    "
    return f"{module.name} as the registry calls it.{loss}{'' if 'attention_mask' in module.roles else mask}"


def task_of(outputs: Mapping[str, list[int]], options: Mapping[str, Any], rows: tuple[int, int]) -> tuple[str, str]:
    """The task that the shape of an output tells, and that output's key; a backbone where none does.

    `options` are sizes by their kind's name, `rows` the batch's rows and length.
    """
    batch, length = rows
    words, labels = options.get(Kind.VOCABULARY.name), options.get(Kind.LABELS.name)
    shapes = {"masked_lm": [batch, length, words], "sequence_classification": [batch, labels]}
    shapes["token_classification"] = [batch, length, labels]
    ordered = sorted(outputs, key=lambda key: key != "logits")
    found = ((task, key) for key in ordered for task, shape in shapes.items() if outputs[key] == shape)
    return next(found, ("backbone", ordered[0]))
