"""What the user's torch file says without being run: its modules, how they are built, what their forward takes."""

import ast
import keyword
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from align.errors import CannotCompareError
from align.registry import known

# The roles of a forward's arguments by the words for them; for all others a default must do.
ROLES: Mapping[str, tuple[str, ...]] = {
    "input_ids": ("input_ids", "ids", "token_ids", "tokens", "idx", "inputs", "src", "x"),
    "attention_mask": ("attention_mask", "mask"),
    "token_type_ids": ("token_type_ids", "segment_ids", "segments", "types"),
    "labels": ("labels",),
}
_REQUIRED = object()


@dataclass(frozen=True)
class Word:
    """One parameter of a function: its name, its annotation as text, and its default."""

    name: str
    annotation: str | None
    default: Any = _REQUIRED

    @property
    def required(self) -> bool:
        return self.default is _REQUIRED


class TorchFile:
    """One Python file with a torch module in it."""

    def __init__(self, path: Path) -> None:
        try:
            self.text = path.read_text(encoding="utf-8")
            self.tree = ast.parse(self.text)
        except FileNotFoundError as error:
            raise CannotCompareError(f"--from {path}: there is no such file") from error
        except (OSError, UnicodeDecodeError) as error:
            raise CannotCompareError(f"--from {path}: cannot be read: {error}") from error
        except SyntaxError as error:
            raise CannotCompareError(f"--from {path}: line {error.lineno} is no Python: {error.msg}") from error
        self.path = path
        self.classes = {node.name: node for node in self.tree.body if isinstance(node, ast.ClassDef)}

    @cached_property
    def modules(self) -> list[str]:
        """The classes that derive from a module of torch's, or from one of these."""
        found: list[str] = []
        for name, node in self.classes.items():
            bases = [ast.unparse(base) for base in node.bases]
            if any(base in found or base.rpartition(".")[2] == "Module" for base in bases):
                found.append(name)
        return found

    def choose(self, name: str | None) -> "TorchModule":
        """The module of this name, or the only one that no other of the file uses.

        Raises:
            CannotCompareError: there is none, or more than one to choose from.
        """
        if not self.modules:
            raise CannotCompareError(f"--from {self.path}: no class in it derives from torch.nn.Module")
        if name is not None:
            return TorchModule(self, known(name, self.modules, f"module of {self.path}"))
        used = {n.id for owner in self.classes.values() for n in ast.walk(owner) if isinstance(n, ast.Name)}
        tops = [module for module in self.modules if module not in used]
        if len(tops) != 1:
            choices = ", ".join(f"{self.path}:{module}" for module in tops or self.modules)
            raise CannotCompareError(f"--from {self.path}: which module? Name one: {choices}")
        return TorchModule(self, tops[0])

    def names(self) -> set[str]:
        """Everything that the file defines at its top, but for what it imports."""
        found = {n.name for n in self.tree.body if isinstance(n, (ast.ClassDef, ast.FunctionDef))}
        return found | {n.id for s in self.tree.body if isinstance(s, (ast.Assign, ast.AnnAssign)) for n in _stored(s)}


@dataclass(frozen=True)
class TorchModule:
    """One module of the file, which is to become the architecture."""

    file: TorchFile
    name: str

    def _function(self, method: str) -> ast.FunctionDef | None:
        """A method of the class, or of one of the file's own that it derives from."""
        name: str | None = self.name
        while name in self.file.classes:
            node = self.file.classes[str(name)]
            for statement in node.body:
                if isinstance(statement, ast.FunctionDef) and statement.name == method:
                    return statement
            name = next((ast.unparse(base) for base in node.bases if ast.unparse(base) in self.file.classes), None)
        return None

    def words(self, method: str) -> list[Word]:
        """The parameters of a method, `self` left out."""
        function = self._function(method)
        return [] if function is None else list(_words(function, self.where))

    @property
    def where(self) -> str:
        return f"{self.file.path}:{self.name}"

    @cached_property
    def config(self) -> str | None:
        """The dataclass of the file that the constructor takes, if that is how it is built.

        Raises:
            CannotCompareError: it takes a configuration that is no dataclass of this file, or not named like one.
        """
        words = self.words("__init__")
        annotated = [w.annotation.strip("'\"") for w in words if w.annotation]
        found = next((name for name in annotated if name in self.file.classes and _is_dataclass(self.file, name)), None)
        if found is None and len(words) == 1 and words[0].name in ("config", "cfg", "args"):
            raise CannotCompareError(
                f"{self.where} is built with {words[0].name}: annotate it with a dataclass of this file that has the "
                "options and their defaults"
            )
        if found and not found.endswith("Config"):
            raise CannotCompareError(f"{self.where}: the registry finds configurations by name, call {found} …Config")
        return found

    @cached_property
    def options(self) -> list[Word]:
        """What the architecture is configured with: the fields of its configuration, or the constructor's words."""
        if self.config is None:
            return self.words("__init__")
        body = self.file.classes[self.config].body
        return [
            Word(n.target.id, ast.unparse(n.annotation), _literal(n.value, self.where) if n.value else _REQUIRED)
            for n in body
            if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
        ]

    @cached_property
    def roles(self) -> dict[str, str]:
        """Role → the forward's own word, in the forward's order.

        Raises:
            CannotCompareError: nothing takes the tokens, or something is required that nothing is known of.
        """
        words = self.words("forward")
        found = {role: word.name for word in words for role, names in ROLES.items() if word.name in names}
        unknown = [word.name for word in words if word.required and word.name not in found.values()]
        if "input_ids" not in found or unknown:
            what = f"takes {', '.join(unknown)}" if unknown else "takes no tokens"
            roles = ", ".join(ROLES)
            raise CannotCompareError(
                f"{self.where}: its forward {what}; fake data is made for {roles} (for other inputs: "
                "`python -m align compare`)"
            )
        return found


def check_name(name: str) -> None:
    """Raise CannotCompareError for a name that no file of Python's can be imported by."""
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise CannotCompareError(f"{name!r} is no name for an architecture: it becomes a file name, as gau_alpha")


def _words(function: ast.FunctionDef, where: str) -> Iterator[Word]:
    given = [*function.args.posonlyargs, *function.args.args][1:]
    defaults = function.args.defaults
    required: list[ast.expr | None] = [None] * (len(given) - len(defaults))
    pairs = [*zip(given, [*required, *defaults], strict=False)]
    pairs += zip(function.args.kwonlyargs, function.args.kw_defaults, strict=True)
    for argument, default in pairs:
        annotation = ast.unparse(argument.annotation) if argument.annotation else None
        yield Word(argument.arg, annotation, _REQUIRED if default is None else _literal(default, where))


def _literal(node: ast.expr, where: str) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise CannotCompareError(
            f"{where}: line {node.lineno}: the default {ast.unparse(node)} is no plain number or text"
        ) from None


def _is_dataclass(file: TorchFile, name: str) -> bool:
    return any("dataclass" in ast.unparse(decorator) for decorator in file.classes[name].decorator_list)


def _stored(statement: ast.Assign | ast.AnnAssign) -> Iterator[ast.Name]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    yield from (target for target in targets if isinstance(target, ast.Name))
