"""What stands at the end of a model file for the registry: configuration, variants, tasks, and a class for the task.

It is written in torch's words and translated with the rest, so that both files have the same of it.
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from align import registry
from align.errors import CannotCompareError
from align.foreign.configs import TINY
from align.foreign.options import Kind, kind_of
from align.porting.options import TITLES
from align.porting.source import TorchModule, Word

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


def torch_text(module: TorchModule, name: str, task: str, names: Names, output: str | None) -> str:
    """The user's file with the registry's part behind it. `output` is the key of the logits, None for all outputs.

    Raises:
        CannotCompareError: the file uses a name that this part needs.
    """
    taken = {"VARIANTS", "TASKS", *(() if module.config else (names.config,))}
    taken |= {*_LOSS, "IGNORED"} if task != "backbone" else set()
    if clash := sorted(taken & module.file.names()):
        raise CannotCompareError(
            f"{module.file.path} defines {', '.join(clash)}, which the registry's part is to: rename"
        )
    text = _with_imports(module, _with_from_dict(module, names))
    parts = [*_config(module, names), _tables(module, task, names)]
    if task != "backbone":
        parts += _loss()
    parts.append(_task_class(module, name, task, names, output))
    return (
        text.rstrip()
        + f"\n\n\n# What the registry asks for, by `python -m align new {name}`.\n\n\n"
        + "\n\n\n".join(parts)
    )


def _with_imports(module: TorchModule, text: str) -> str:
    """The user's text with the imports that the rest needs in front of the first one of torch's."""
    tree = ast.parse(text)
    bound = {ast.unparse(n) for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))}
    names = {f"from {n.module} import {a.name}" for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
    first = next(
        n.lineno
        for n in tree.body
        if isinstance(n, (ast.Import, ast.ImportFrom)) and "torch" in ast.unparse(n).split()[1]
    )
    lines = text.splitlines()
    wanted = [line for line in _STANDARD if not _has(line, bound | names)]
    torch = [line for line in _TORCH if not _has(line, bound | names)]
    apart = [""] if wanted and (first < 2 or lines[first - 2].strip()) else []
    lines[first - 1 : first - 1] = [*wanted, *apart, *torch] if apart else [*torch]
    if wanted and not apart:
        place = first - 1
        while place and not lines[place - 1].strip():
            place -= 1
        lines[place:place] = wanted if _is_import(lines[place - 1] if place else "") else ["", *wanted]
    return "\n".join(lines) + "\n"


def _is_import(line: str) -> bool:
    return line.startswith(("import ", "from ")) and "__future__" not in line


def _has(line: str, found: set[str]) -> bool:
    """Whether all that an import line binds is there already."""
    start, _, listed = line.partition(" import ")
    return line in found or (bool(listed) and all(f"{start} import {name}" in found for name in listed.split(", ")))


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
    return (
        f'VARIANTS = {{"tiny": {{{small}}}, "default": {{}}}}  # fmt: skip\nTASKS = {{"{task}": "{names.task_class}"}}'
    )


def _loss() -> Iterator[str]:
    text = registry.source("fastformer", "torch")
    pieces = {n.name: n for n in ast.parse(text).body if isinstance(n, (ast.ClassDef, ast.FunctionDef))}
    yield "IGNORED = -100  # the label of what no loss counts"
    yield from (str(ast.get_source_segment(text, pieces[name])) for name in _LOSS)


def _task_class(module: TorchModule, name: str, task: str, names: Names, output: str | None) -> str:
    labelled = task != "backbone"
    roles = {role: own for role, own in module.roles.items() if role != "labels"}
    taken = [
        role for role in ("input_ids", "attention_mask", "token_type_ids") if role in roles or role == "attention_mask"
    ]
    words = ["input_ids: Tensor", *(f"{role}: Tensor | None = None" for role in taken[1:])]
    words += ["labels: Tensor | None = None"] if labelled else []
    given = ", ".join(role if own == role and not position else f"{own}={role}" if position else role
                      for position, (role, own) in enumerate(roles.items()))  # fmt: skip
    made = "config" if module.config else "**asdict(config)"
    lines = [
        f"class {names.task_class}({module.name}):",
        f'    """{module.name} as the registry calls it{_about(module, labelled)}."""',
        "",
        f"    def __init__(self, config: {names.config}) -> None:",
        f"        super().__init__({made})",
        *(["        self.loss = CrossEntropy()"] if labelled else []),
        "",
        f"    def forward(self, {', '.join(words)}) -> dict[str, Tensor]:",
        f"        outputs = super().forward({given})",
        *_returned(labelled, output),
    ]
    return "\n".join(lines) + "\n"


def _about(module: TorchModule, labelled: bool) -> str:
    mask = "" if "attention_mask" in module.roles else "; it takes a mask, of which it makes nothing"
    return ('; given labels, it returns the "loss" too' if labelled else "") + mask


def _returned(labelled: bool, output: str | None) -> list[str]:
    if not labelled:
        return ['        return outputs if isinstance(outputs, dict) else {"last_hidden_state": outputs}'
                if output is None else f'        return {{"last_hidden_state": {_picked(output)}}}']  # fmt: skip
    return [
        f"        logits = {_picked(str(output))}",
        '        return {"logits": logits} if labels is None else {"logits": logits, "loss": self.loss(logits, labels)}',
    ]


def _picked(output: str) -> str:
    return f"outputs[{output}]" if output.isdecimal() else f'outputs["{output}"]' if output else "outputs"


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
    return next(found, ("backbone", next(iter(outputs), "")))
