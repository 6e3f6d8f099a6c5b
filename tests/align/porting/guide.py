"""What the tests of `align new` share: a folder with architectures of its own, and the guide as it stands."""

import importlib
import re
import sys
from contextlib import contextmanager
from pathlib import Path

import convert.layouts
import fake_data
import models_paddle
import models_torch
from align import registry

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = {
    "models_torch": models_torch,
    "models_paddle": models_paddle,
    "fake_data": fake_data,
    "convert/layouts": convert.layouts,
}


@contextmanager
def in_folder(folder, monkeypatch):
    """This process in another folder, with the architectures of its `ports` as a process started there would have."""
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PLUMBLINE_PORTS", "ports")
        for place, package in PACKAGES.items():
            patch.setattr(package, "__path__", [*package.__path__, str(folder / "ports" / place)])
        forget(folder)
        yield
    forget(folder)


def forget(folder):
    """Import and look up anew what stands in the folder: it may have been edited."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(folder)):
            del sys.modules[name]
    importlib.invalidate_caches()
    registry.names.cache_clear()
    registry.architecture.cache_clear()


def blocks(kind):
    """The guide's blocks of one kind, in order."""
    text = (ROOT / "docs/porting.md").read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.M | re.S)


def sessions():
    """(command, lines of output that are shown) of every command in the guide."""
    for block in blocks("console"):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, *shown = part.splitlines()
            yield command, [line for line in shown if line.strip() not in ("", "...")]


def apply(diff, folder):
    """Apply one unified diff, as `patch` does; its lines must stand in the file exactly once."""
    path = folder / re.findall(r"^\+\+\+ (\S+)", diff, re.M)[0]
    text = path.read_text(encoding="utf-8")
    for hunk in re.split(r"^@@.*\n", diff, flags=re.M)[1:]:
        lines = [line or " " for line in hunk.splitlines()]
        before = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
        after = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    path.write_text(text, encoding="utf-8")


def plain(line):
    """A line without what differs from one machine or run to the next: numbers, blanks."""
    return re.sub(r"\d[\d.]*(e[+-]?\d+)?\+?", "N", " ".join(line.split()))
