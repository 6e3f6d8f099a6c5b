"""The texts of the other files: the weight table, the fake data's specification, the test."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from align.errors import CannotCompareError
from align.foreign.options import Kind
from align.porting.house import option_of
from align.porting.source import TorchModule

Facts = Mapping[str, Any]
_QUERY = r"q|query|q_proj|query_proj|to_q|wq|w_q|linear_q"
_KEY = r"k|key|k_proj|key_proj|to_k|wk|w_k|linear_k"
_UNMASKED = "no mask reaches it, so padding is a token like any other"


def check_tensors(facts: Facts, where: str) -> None:
    """Raise CannotCompareError for a state dict that holds what no weights are."""
    if facts["counts"]:
        raise CannotCompareError(
            f"{where}: {', '.join(facts['counts'])} in its state dict is no float: register it with persistent=False"
        )


def layout_text(title: str, facts: Facts) -> str:
    """The rules from torch's names to Paddle's: the same names, and the weight of a Linear transposed."""
    lines = list(dict.fromkeys(_layout_lines(facts)))
    used = [word for word in ("Rule", "keep", "linear", "norm") if any(f"{word}(" in line for line in lines)]
    words = ", ".join(sorted({"Rules", "identity", *used}, key=lambda word: (word[0].islower(), word)))
    alias = "from convert.ops import Alias\n" if any("Alias(" in line for line in lines) else ""
    body = "\n".join(f"    {line}" for line in lines)
    return (
        f'"""{title}."""\n\n{alias}from convert.rules import {words}\n\n'
        f"RULES: Rules = (\n{body}\n)\n\n"
        'LAYOUTS: dict[str, Rules] = {"paddle": RULES, "transformers": identity(RULES)}\n'
    )


def _layout_lines(facts: Facts) -> Iterator[str]:
    tied, modules = facts["tied"], facts["modules"]
    done: set[str] = set()
    for name in facts["shapes"]:
        owner, _, leaf = name.rpartition(".")
        described = modules.get(owner, {"class": "", "own": []})
        pattern = _numbered(name, "{}")
        if name in done:
            continue
        if name in tied:
            of, beside = tied[name], json.dumps(_beside(name, facts))
            yield f'Rule("{pattern}", "{pattern}", Alias(of="{of}", beside={beside})),'
        elif described["class"] == "Linear" and leaf == "weight" and f"{owner}.bias" not in tied:
            bias = "" if "bias" in described["own"] else ", bias=False"
            done.add(f"{owner}.bias")
            yield f'*linear("{_numbered(owner, "{}")}"{bias}),'
        elif "Norm" in described["class"] and set(described["own"]) == {"weight", "bias"}:
            done |= {f"{owner}.weight", f"{owner}.bias"}
            yield f'*norm("{_numbered(owner, "{}")}"),'
        else:
            yield f'*keep("{pattern}"),'


def _beside(name: str, facts: Facts) -> str:
    """A name that tells that the tied one is due: its own module's other tensor."""
    owner = name.rpartition(".")[0]
    others = [n for n in facts["shapes"] if n.rpartition(".")[0] == owner and n not in facts["tied"]]
    return others[0] if others else facts["tied"][name]


def spec_text(title: str, module: TorchModule, task: str, facts: Facts, logits: int | None) -> str:
    """What fake data is to know: tasks, sizes by the module's own words, and weights at trained scale."""
    sizes = {"vocab_size": Kind.VOCABULARY, "type_vocab_size": Kind.TYPES, "num_labels": Kind.LABELS}
    own = {size: option_of(module, kind) for size, kind in sizes.items()}
    words = {size: word for size, word in own.items() if word and word != size}
    typed = "token_type_ids" in module.roles
    constants = {"type_vocab_size": 2} if typed and not own["type_vocab_size"] else {}
    positions = option_of(module, Kind.POSITIONS)
    masked = "attention_mask" in module.roles
    lines = [
        f'    tasks={{"{task}": TASKS["{task}"]}},',
        '    special_tokens={"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},',
        *([f'    length_limit="{positions}",'] if positions else []),
        *([] if typed else ["    types=False,"]),
        *([f"    words={_quoted(words)},"] if words else []),
        *([f"    constants={_quoted(constants)},"] if constants else []),
        *([] if masked else ['    not_invariant={"padding": _UNMASKED, "tokens under padding": _UNMASKED},']),
        "    weights=(",
        *(f"        {line}" for line in _weights(facts, logits)),
        "    ),",
    ]
    constant = "" if masked else f'_UNMASKED = "{_UNMASKED}"\n\n'
    return (
        f'"""{title}."""\n\nfrom fake_data.fields import TASKS\nfrom fake_data.spec import Spec, Weight\n\n'
        f"{constant}SPEC = Spec(\n" + "\n".join(lines) + "\n)\n"
    )


def _quoted(table: Mapping[str, Any]) -> str:
    inner = ", ".join(f'"{k}": ' + (f'"{v}"' if isinstance(v, str) else repr(v)) for k, v in table.items())
    return f"{{{inner}}}"


def _weights(facts: Facts, logits: int | None) -> list[str]:
    """A line for each kind of tensor; the first that matches a name counts."""
    last = _last(facts, logits)
    lines = []
    for name, shape in facts["shapes"].items():
        owner, _, leaf = name.rpartition(".")
        kind = facts["modules"].get(owner, {"class": ""})["class"]
        if name not in facts["tied"]:
            pattern = re.escape(_numbered(name, "0")).replace(r"\.0\.", r"\.\d+\.").replace(r"\_", "_")
            scale = _scale(owner, leaf, kind, shape, owner == last, name in facts["tied"].values())
            lines.append(f'Weight(r"{pattern}", {scale}),')
    return list(dict.fromkeys(lines))


def _scale(owner: str, leaf: str, kind: str, shape: list[int], is_last: bool, is_shared: bool) -> str:
    word = owner.rpartition(".")[2]
    if leaf == "bias" or leaf.endswith("_bias"):
        return "std=0.1, saturated=16.0" if re.fullmatch(_QUERY, word) else "std=0.1"
    if len(shape) < 2 or "Norm" in kind:
        return "std=0.1, mean=1.0"
    if is_shared:  # the output matrix too: the logits' standard deviation is about the gain
        return "std=2.0, fan_in=1, saturated=16.0"
    if kind == "Embedding":
        return "std=1.0"
    if is_last:
        return "std=1.0, fan_in=1, saturated=64.0"
    if re.fullmatch(_QUERY, word):
        return "std=1.5, fan_in=1, saturated=16.0"
    return f"std={1.5 if re.fullmatch(_KEY, word) else 0.9}, fan_in=1"


def _last(facts: Facts, logits: int | None) -> str | None:
    """The last Linear that is as wide as the logits: its outputs are theirs."""
    fitting = [n for n, m in facts["modules"].items() if logits and m["class"] == "Linear" and m["width"] == logits]
    return fitting[-1] if fitting else None


def _numbered(name: str, mark: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.)", mark, name)


def test_text(title: str, name: str, task: str) -> str:
    stages = '("forward", "init", "loss", "metric", "backward", "invariance")' if task != "backbone" else (
        '("forward", "init", "backward", "invariance")'
    )  # fmt: skip
    return (
        f'"""{title}: both sides are the same function."""\n\nimport pytest\n\n\n'
        f'@pytest.mark.parity("{name}", task="{task}", stages={stages})\n'
        f"def test_{name}(parity_report):\n    assert parity_report.passed\n"
    )
