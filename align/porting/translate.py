"""A draft of the Paddle file: the user's own text, in which every call that a rule is certain of is Paddle's.

All else stays as it was written, comments and order too; what no rule covers stands under a line `# TODO(port): …` in
torch's words. Rules are applied by name: what `self.norm(x)` calls is a module, `x.norm()` a method of a tensor.
"""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from align.errors import CannotCompareError
from align.porting import rules
from align.porting.helpers import HELPER_IMPORTS, HELPERS
from align.porting.rules import ATTRIBUTES, NAMES
from align.porting.signature import Signature, UnfitError, children, index, spelled

MARK = "# TODO(port): "
_CALLS = index((*rules.MODULES, *rules.FUNCTIONS), "path")
_METHODS = index(rules.METHODS, "word")
_MODULE_METHODS = index(rules.MODULE_METHODS, "word")
_OF_PYTHON = {name for kind in (str, dict, list, set, tuple, int, float) for name in dir(kind)}
_HEADER, _GONE = "__imports_of_the_draft__", "__no_import__"


@dataclass(frozen=True)
class Todo:
    """A line that the user has to write: its number in the draft, what stands there, and why no rule was certain."""

    line: int
    text: str
    why: str


@dataclass(frozen=True)
class Draft:
    text: str
    todos: tuple[Todo, ...]


def translate(source: str) -> Draft:
    """Translate a torch file.

    Raises:
        CannotCompareError: it is no Python.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise CannotCompareError(f"line {error.lineno} is no Python: {error.msg}") from error
    text = _with_header(_Translator(source, tree).render(tree))
    lines = text.splitlines()
    marked = ((n, line.strip().removeprefix(MARK)) for n, line in enumerate(lines) if line.strip().startswith(MARK))
    return Draft(text, tuple(Todo(n + 2, _below(lines, n), why) for n, why in marked))


def _below(lines: list[str], mark: int) -> str:
    return next((line.strip() for line in lines[mark + 1 :] if not line.strip().startswith(MARK)), "")


class _Translator:
    def __init__(self, source: str, tree: ast.Module) -> None:
        self._text = source.encode()
        self._starts = [0, *(place + 1 for place, byte in enumerate(self._text) if byte == 10)]
        self._tree = tree
        self._imports = dict(_torch_imports(tree))
        self._modules = set(_other_imports(tree))
        self._defined = {n.name for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
        self._attributes = set(_own_attributes(tree))
        self._loops = {n.target.id for n in ast.walk(tree) if isinstance(n, ast.For) and isinstance(n.target, ast.Name)}
        self._reasons: list[str] = []
        self._has_header = False

    def render(self, node: ast.AST) -> str:
        """The text of a node in Paddle's words."""
        if isinstance(node, ast.stmt):
            return self._statement(node)
        if isinstance(node, ast.expr):
            replaced = self._expression(node)
            return self._inside(node) if replaced is None else replaced
        return self._inside(node)

    def _inside(self, node: ast.AST, skip: tuple[ast.AST, ...] = ()) -> str:
        """The node's text with its parts rendered, those to `skip` as they are."""
        start, end = self._span(node)
        parts = [] if isinstance(node, ast.JoinedStr) else sorted(set(children(node)), key=self._span)
        found, place = [], start
        for part in parts:
            first, last = self._span(part)
            found += [self._text[place:first].decode(), self._source(part) if part in skip else self.render(part)]
            place = last
        return "".join((*found, self._text[place:end].decode()))

    def _span(self, node: ast.AST) -> tuple[int, int]:
        if isinstance(node, ast.Module):
            return 0, len(self._text)
        start = self._starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        for decorator in getattr(node, "decorator_list", ()):
            start = min(start, self._text.rindex(b"@", 0, self._span(decorator)[0]))
        return start, self._starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]

    def _source(self, node: ast.AST) -> str:
        start, end = self._span(node)
        return self._text[start:end].decode()

    # Statements: the marks stand in front of them.

    def _statement(self, node: ast.stmt) -> str:
        before, self._reasons = self._reasons, []
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            text = self._import(node)
        elif _is_docstring(self._tree, node):
            text = self._source(node).replace("in PyTorch", "in PaddlePaddle").replace("PyTorch", "PaddlePaddle")
        else:
            if _shares_weight(node):
                self._unsure("Paddle's Linear holds its weight transposed and cannot share this one")
            text = self._inside(node)
        start = self._span(node)[0]
        indent = self._text[self._text.rfind(b"\n", 0, start) + 1 : start].decode()
        if indent.strip():  # not at the start of its line: the marks go to the statement around it
            before += self._reasons
        else:
            text = "".join(f"{MARK}{why}\n{indent}" for why in dict.fromkeys(self._reasons)) + text
        self._reasons = before
        return text

    def _import(self, node: ast.Import | ast.ImportFrom) -> str:
        if any(name in self._imports for name in _bound(node)):
            header, self._has_header = _GONE if self._has_header else _HEADER, True
            return header
        for name in [node.module or "."] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]:
            if name.partition(".")[0] not in {*sys.stdlib_module_names, "numpy"}:
                self._unsure(f"is {name} for torch only? The model files import nothing but their framework")
        return self._source(node)

    def _unsure(self, why: str) -> None:
        self._reasons.append(why)

    # Expressions.

    def _expression(self, node: ast.expr) -> str | None:
        """What takes the place of an expression; None where only its parts may change."""
        match node:
            case ast.Call():
                return self._call(node)
            case ast.Name() | ast.Attribute() if path := self._path(node):
                if path in NAMES:
                    return NAMES[path]
                self._unsure(f"no rule for {spelled(path)}")
                return self._source(node)
            case ast.Attribute(attr=name) if name in ATTRIBUTES and name not in self._attributes:
                return f"{self._tight(node.value)}.{ATTRIBUTES[name]}"
        return None

    def _call(self, call: ast.Call) -> str | None:
        function = call.func
        if path := self._path(function):
            return self._by_rule(call, _CALLS.get(spelled(path), []), spelled(path), None)
        if not isinstance(function, ast.Attribute):
            self._check_partial(call)
            return None
        receiver, word = function.value, function.attr
        if word in _MODULE_METHODS and word not in self._defined:
            return self._by_rule(call, _MODULE_METHODS[word], f".{word}()", receiver)
        if self._is_of_module(receiver, word):
            return None
        if word in _METHODS:
            return self._by_rule(call, _METHODS[word], f".{word}()", receiver)
        if word not in self._defined | self._attributes | _OF_PYTHON:
            self._unsure(f"no rule for .{word}()")
        return None

    def _check_partial(self, call: ast.Call) -> None:
        """`partial(nn.Softmax, dim=-1)` gives its words to a call that no rule sees."""
        path = self._path(call.args[0]) if call.args else None
        is_partial = isinstance(call.func, ast.Name) and call.func.id == "partial" and path and call.keywords
        if is_partial and not any(signature.rule.paddle is None for signature in _CALLS.get(spelled(str(path)), [])):
            self._unsure(f"the words of {spelled(str(path))} are given to it later")

    def _is_of_module(self, receiver: ast.expr, word: str) -> bool:
        """Whether `receiver.word` is a module or a method of one, or a function of another package."""
        if isinstance(receiver, ast.Call) and isinstance(receiver.func, ast.Name) and receiver.func.id == "super":
            return True
        if isinstance(receiver, ast.Name) and (receiver.id == "self" or receiver.id in self._modules):
            return True
        root = receiver
        while isinstance(root, (ast.Attribute, ast.Subscript)):
            root = root.value
        known = isinstance(root, ast.Name) and (root.id == "self" or root.id in self._loops)
        return known and word in self._attributes | self._defined

    def _by_rule(self, call: ast.Call, found: list[Signature], what: str, receiver: ast.expr | None) -> str | None:
        whys = []
        for signature in found:
            try:
                bound = signature.bind(call)
                if signature.rule.paddle is None:
                    return self._same(call, what, receiver)
                if signature.rule.paddle:
                    signature.check(bound)
                    return signature.fill(bound, receiver, self.render)
                whys = [""]
            except UnfitError as error:
                whys.append(f" {error}")
        hint = next((f": {signature.rule.hint}" for signature in found if signature.rule.hint), "")
        self._unsure(f"no rule for {what}{whys[0] if whys else ''}{hint}")
        return None if receiver is not None else self._inside(call, skip=(call.func,))

    def _same(self, call: ast.Call, what: str, receiver: ast.expr | None) -> str | None:
        """The same call of Paddle's, without what it need not be told."""
        function = re.sub(r"^torch\b", "paddle", what) if receiver is None else self._inside(call.func)
        if not any(word.arg in rules.IGNORED for word in call.keywords):
            start, end = self._span(call)[0], self._span(call.func)[1]
            return function + self._inside(call, skip=(call.func,))[len(self._text[start:end].decode()) :]
        kept = [
            *map(self.render, call.args),
            *(self.render(word) for word in call.keywords if word.arg not in rules.IGNORED),
        ]
        return f"{function}({', '.join(kept)})"

    def _tight(self, node: ast.expr) -> str:
        text = self.render(node)
        return text if isinstance(node, (ast.Name, ast.Call, ast.Attribute, ast.Subscript)) else f"({text})"

    def _path(self, node: ast.expr) -> str | None:
        """The full name of something of torch's, by whatever name it was imported."""
        words = []
        while isinstance(node, ast.Attribute):
            words.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or node.id not in self._imports:
            return None
        return ".".join([self._imports[node.id], *reversed(words)])


def _with_header(text: str) -> str:
    """The imports that the draft needs in the place of torch's, and the helpers it calls before the first class."""
    used = [name for name in HELPERS if re.search(rf"\b{name}\(", text)]
    wanted = {line for name in used for line in HELPER_IMPORTS[name]}
    body = text + "".join(HELPERS[name] for name in used)
    if re.search(r"\bpaddle\.", body):
        wanted.add("import paddle")
    if re.search(r"\bF\.", body):
        wanted.add("import paddle.nn.functional as F")
    wanted |= {f"from paddle import {name}" for name in ("Tensor", "nn") if re.search(rf"\b{name}\b", body)}
    text = re.sub(rf"^[ \t]*{_GONE}\n", "", text, flags=re.M)
    text = text.replace(_HEADER, "\n".join(_sorted(wanted, text)))
    place = re.search(r"^(?:@|class |def )", text, re.M)
    helpers = "".join(f"{HELPERS[name].strip()}\n\n\n" for name in used)
    return text if place is None else text[: place.start()] + helpers + text[place.start() :]


def _sorted(lines: set[str], text: str) -> Iterator[str]:
    """Import lines in the usual order, names of one package on one line; those that the text has already left out."""
    of: dict[str, list[str]] = {}
    for line in sorted(lines - set(text.splitlines())):
        if line.startswith("from "):
            package, name = re.findall(r"from (\S+) import (\S+)", line)[0]
            of.setdefault(package, []).append(name)
        else:
            of.setdefault(line, [])
    made = [f"from {p} import {', '.join(names)}" if names else p for p, names in of.items()]
    standard = [line for line in made if line.split()[1].partition(".")[0] in sys.stdlib_module_names]
    yield from sorted(standard, key=lambda line: line.startswith("from"))
    if standard:
        yield ""
    yield from sorted((line for line in made if line not in standard), key=lambda line: (line.startswith("from"), line))


def _bound(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    for alias in node.names:
        name = alias.asname or (alias.name.partition(".")[0] if isinstance(node, ast.Import) else alias.name)
        yield name


def _torch_imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """What names of torch's are called here: the local name, and the full one."""
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                for alias in node.names:
                    if alias.name.partition(".")[0] == "torch":
                        yield alias.asname or "torch", alias.name if alias.asname else "torch"
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] == "torch":
                for alias in node.names:
                    yield alias.asname or alias.name, f"{module}.{alias.name}"


def _other_imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from _bound(node)


def _own_attributes(tree: ast.AST) -> Iterator[str]:
    """The names of everything that is set on `self` or declared in a class."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                yield name
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name


def _is_docstring(tree: ast.Module, node: ast.stmt) -> bool:
    return node is tree.body[0] and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _shares_weight(node: ast.stmt) -> bool:
    match node:
        case ast.Assign(targets=[ast.Attribute(attr="weight")], value=ast.Attribute(attr="weight")):
            return True
    return False
