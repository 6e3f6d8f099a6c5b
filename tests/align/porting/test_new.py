"""`python -m align new`: what it makes of torch files, and what it refuses."""

import re
import textwrap

import pytest

from align.__main__ import main
from align.errors import CannotCompareError
from align.files import write_all
from align.porting.translate import MARK, translate
from align.session import Session
from tests.align.commands import refused
from tests.align.porting.guide import forget, in_folder

CLASSIFIER = '''
"""A classifier of sequences."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import Linear, Module
import torch.nn as nn


@dataclass
class Config:
    n_vocab: int = 500
    dim: int = 64
    heads: int = 4
    depth: int = 2
    n_positions: int = 99
    num_labels: int = 3
    dropout: float = 0.1


class Attention(Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query = Linear(dim, dim)
        self.key = Linear(dim, dim, bias=False)
        self.value = Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.scale = nn.Parameter(torch.ones(dim))

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        B, L, D = x.shape
        q, k, v = (f(x).view(B, L, self.heads, -1).transpose(1, 2) for f in (self.query, self.key, self.value))
        scores = q @ k.transpose(-2, -1) / (D // self.heads) ** 0.5  # (B, H, L, L)
        scores = scores.masked_fill(mask[:, None, None, :] == 0, -1e4)
        mixed = torch.matmul(scores.softmax(dim=-1), v).transpose(1, 2).reshape(B, L, D)
        return self.norm(x + self.scale * mixed)


class Classifier(Module):
    def __init__(self, config: Config):
        super().__init__()
        self.words = nn.Embedding(config.n_vocab, config.dim)
        self.places = nn.Embedding(config.n_positions, config.dim)
        self.layers = nn.ModuleList(Attention(config.dim, config.heads) for _ in range(config.depth))
        self.dropout = nn.Dropout(config.dropout)
        self.head = Linear(config.dim, config.num_labels)

    def forward(self, tokens, mask=None):
        mask = torch.ones_like(tokens) if mask is None else mask
        x = self.words(tokens) + self.places(torch.arange(tokens.size(1), device=tokens.device))
        for layer in self.layers:
            x = layer(self.dropout(x), mask)
        weights = mask.float().type_as(x).unsqueeze(-1)
        return x, self.head((x * weights).sum(1) / weights.sum(1).clamp(min=1))
'''


def test_a_classifier_with_a_configuration_is_drafted_green(tmp_path, monkeypatch, capsys):
    """Tuples, an own dataclass, own words for sizes and fields; Linears that start as torch's do."""
    text = CLASSIFIER.replace("Config", "ClassifierConfig")
    (tmp_path / "net.py").write_text(text, encoding="utf-8")
    with in_folder(tmp_path, monkeypatch):
        assert main(["new", "net", "--from", "net.py:Classifier"]) == 0
        out = capsys.readouterr().out
        assert "net.py:Classifier and, at its end, what the registry asks for: sequence_classification" in out
        assert "a draft: every call has a rule" in out
        assert out.splitlines()[-1] == "next: python -m align step1 --model net"
        assert (tmp_path / "ports/models_torch/net.py").read_text().startswith(text[: text.index("from dataclasses")])
        draft = (tmp_path / "ports/models_paddle/net.py").read_text()
        assert "# (B, H, L, L)" in draft
        assert "torch" not in draft.replace("torch's", "")
        for stage in ("forward", "init", "backward"):
            forget(tmp_path)
            assert main([stage, "--model", "net", "--in-process", "--quiet"]) == 0, capsys.readouterr().out


BROKEN = {
    "x = (": "models_paddle/broken.py line 1: '(' was never closed: x = (",
    "\nclass A:\n    x = torch.zeros(3)": "models_paddle/broken.py line 3: NameError: name 'torch' is not defined",
}


@pytest.mark.parametrize(("text", "why"), BROKEN.items())
def test_a_draft_that_cannot_be_imported_is_refused_with_its_line(text, why, tmp_path, monkeypatch):
    for place in ("models_torch", "models_paddle"):
        (folder := tmp_path / "ports" / place).mkdir(parents=True)
        (folder / "broken.py").write_text(text, encoding="utf-8")
    with in_folder(tmp_path, monkeypatch), pytest.raises(CannotCompareError, match=re.escape(why)):
        Session("paddle").build("broken", "Broken", {})


NET = "import torch\nfrom torch import nn\n\n\nclass Net(nn.Module):\n    def forward(self, {}):\n        return x\n"
REFUSED = [
    ("", ["1net", "--from", "a.py"], "'1net' is no name for an architecture"),
    ("", ["class", "--from", "a.py"], "'class' is no name"),
    ("", ["net", "--from", "b.py"], "--from b.py: there is no such file"),
    ("def f(:", ["net", "--from", "a.py"], "--from a.py: line 1 is no Python"),
    ("class Net:\n    pass\n", ["net", "--from", "a.py"], "no class in it derives from torch.nn.Module"),
    (NET.format("x") + NET.format("x").replace("Net", "Other"), ["net", "--from", "a.py"], "a.py:Net, a.py:Other"),
    (NET.format("x"), ["net", "--from", "a.py:Nett"], "unknown module of a.py 'Nett': did you mean 'Net'?"),
    (NET.format("x"), ["electra", "--from", "a.py"], "the name 'electra' is taken"),
    (NET.format("x"), ["batch", "--from", "a.py"], "the name 'batch' is taken"),
    (NET.format("x, y"), ["net", "--from", "a.py"], "its forward takes y; fake data is made for input_ids"),
    (NET.format("image"), ["net", "--from", "a.py"], "its forward takes image"),
    (CLASSIFIER.replace("Config", "Sizes"), ["net", "--from", "a.py"], "call Sizes …Config"),
]


@pytest.mark.parametrize(("text", "words", "why"), REFUSED, ids=[why for *_, why in REFUSED])
def test_refusals_are_one_line_and_write_nothing(text, words, why, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text(text, encoding="utf-8")
    assert why in refused(capsys, "new", *words)
    assert [path.name for path in tmp_path.iterdir()] == ["a.py"]


def test_all_files_or_none(tmp_path):
    """The second stands where a file is in the way; what the first held is there still."""
    (first := tmp_path / "a/first.py").parent.mkdir()
    first.write_text("mine")
    (tmp_path / "b").write_text("in the way")
    with pytest.raises(CannotCompareError, match="nothing was written"):
        write_all({first: "new", tmp_path / "c/third.py": "new", tmp_path / "b/second.py": "new"})
    found = {path.name: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"first.py": "mine", "b": "in the way"}


def test_files_that_are_there_stay(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").write_text(NET.format("x"), encoding="utf-8")
    (there := tmp_path / "ports/models_paddle/net.py").parent.mkdir(parents=True)
    there.write_text("mine")
    assert "is there: name another architecture, or overwrite it with --force" in refused(
        capsys, "new", "net", "--from", "a.py"
    )
    assert [path for path in tmp_path.rglob("*.py") if path.name != "a.py"] == [there]


DRAFTS = {  # a method's body in torch, and in the draft
    "return self.norm(x).norm(dim=-1)": "return self.norm(x).norm(2, axis=-1)",
    "return self.split(x)": "return self.split(x)",
    "return self.a.split(x, 2)  # kept": "return self.a.split(x, 2)  # kept",
    "return (x + 1).repeat(2, 1)": "return (x + 1).tile([2, 1])",
    "return ', '.join(self.names)": "return ', '.join(self.names)",
    "return torch.cat([x, x.view(*x.shape)], 1)": "return paddle.concat([x, x.view(*x.shape)], axis=1)",
    "return torch.zeros(3, device=x.device)": "return paddle.zeros(3)",
    "return x.max(-1)": "# TODO(port): no rule for .max(): torch's returns values and indices",
    "return torch.linalg.svd(x)": "# TODO(port): no rule for torch.linalg.svd\n        return torch.linalg.svd(x)",
    "return x.frobnicate(x.relu())": "# TODO(port): no rule for .frobnicate()\n        return x.frobnicate(F.relu(x))",
    "return F.dropout(x, 0.1, self.training)": "return F.dropout(x, 0.1, training=self.training)",
    "return nn.LayerNorm(3, bias=False)": "# TODO(port): no rule for nn.LayerNorm with bias=False",
}


@pytest.mark.parametrize(("torch_line", "expected"), DRAFTS.items())
def test_drafts_change_what_is_certain_and_mark_the_rest(torch_line, expected):
    source = f"""\
        import torch
        from torch import nn
        from torch.nn import functional as F

        class Net(nn.Module):
            def __init__(self, names):
                super().__init__()
                self.norm, self.names, self.a = nn.LayerNorm(3), names, nn.ModuleDict()

            def split(self, x):
                {torch_line}
        """
    draft = translate(textwrap.dedent(source))
    assert expected in draft.text
    assert len(draft.todos) == (MARK in expected)
    for todo in draft.todos:
        assert draft.text.splitlines()[todo.line - 1].strip() == todo.text
