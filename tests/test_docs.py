"""The documents keep up with the code: every command in them is one that the command line takes."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from align import __main__ as align_command

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").iterdir() if path.suffix != ".png")]


def commands(path):
    """The arguments of every `python -m align` in a document, with something in the place of variables."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    text = re.sub(r"\$\{\{.*?\}\}|\$MODEL", "electra", text)
    for line in re.findall(r"python -m align ([^`\n]+)", text):
        words = shlex.split(line.replace("→", "#"), comments=True)
        if len(words) > 1 and not words[0].isupper() and not words[0].endswith(":"):
            yield words


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_is_taken(path):
    found = list(commands(path))
    for words in found:
        align_command._parser().parse_args(words)
    assert found


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.yml")), ids=lambda path: path.name)
def test_workflows_are_sound_yaml(path):
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))
    steps = [str(step) for job in jobs.get("jobs", jobs).values() if isinstance(job, dict) for step in job.values()]
    assert any("python -m align all" in step for step in steps)
