"""plumbline.toml: what it may say, and how anything else is refused."""

import pytest

from align.errors import CannotCompareError
from align.gates import read_settings

GOOD = """
[models.funnel]
max-diff = 1e-5
[[models.funnel.limits]]
module = "funnel.encoder.*"
stage = "step1"
factor = 8
reason = "fused attention"
[[models.funnel.limits]]
module = "funnel.decoder"
factor = 1.5
reason = "see issue 12"
[[models.funnel.skip]]
stage = "data"
reason = "no tokenizer"
"""


def indented(text):
    """The same settings inside pyproject.toml."""
    return text.replace("[models", "[tool.plumbline.models")


@pytest.mark.parametrize(("name", "turn"), [("plumbline.toml", str), ("pyproject.toml", indented)])
def test_settings_are_found_at_or_above_the_folder(tmp_path, name, turn):
    (tmp_path / name).write_text(turn(GOOD))
    (tmp_path / "deep" / "down").mkdir(parents=True)
    settings = read_settings("funnel", tmp_path / "deep" / "down")
    assert (settings.max_diff, settings.mean_diff) == (1e-5, None)
    assert settings.skipped == {"data": "no tokenizer"}
    assert [(w.module, w.stage, w.factor) for w in settings.widened] == [
        ("funnel.encoder.*", "forward", 8.0),
        ("funnel.decoder", None, 1.5),
    ]
    assert settings.widened[0].holds_for("forward", "funnel.encoder.blocks.0")
    assert not settings.widened[0].holds_for("backward", "funnel.encoder.blocks.0")
    assert not settings.widened[1].holds_for("forward", "funnel.decoder.layers")
    assert [line.rpartition(": ")[2] for line in settings.overrides] == [
        "fused attention",
        "see issue 12",
        "no tokenizer",
    ]
    other = read_settings("electra", tmp_path)
    assert (other.overrides, other.max_diff) == ([], None)


def test_where_there_are_none_nothing_is_allowed(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.ruff]\n")
    assert read_settings("funnel", tmp_path).overrides == []


LIMIT = '[[models.funnel.limits]]\nmodule = "*"\nfactor = 2\n'
REASON = 'reason = "because"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LIMIT, "models.funnel.limits[0].reason: missing: every override says why"),
        (LIMIT + 'reason = "  "\n', "limits[0].reason: it must be a text, and not an empty one"),
        (LIMIT + "reason = 3\n", "limits[0].reason: it must be a text"),
        (LIMIT + REASON + "modul = 1\n", "unknown key models.funnel.limits[0].modul (did you mean 'module'?)"),
        (LIMIT + REASON + 'stage = "bakward"\n', "no stage 'bakward' (did you mean 'backward'?)"),
        ("[[models.funnel.limits]]\nfactor = 2\n" + REASON, "limits[0].module: missing"),
        ('[[models.funnel.limits]]\nmodule = "*"\n' + REASON, "limits[0].factor: give a finite number from 1 on"),
        (LIMIT.replace("2", "0.5") + REASON, "give a finite number from 1 on"),
        (LIMIT.replace("2", "inf") + REASON, "give a finite number from 1 on"),
        (LIMIT.replace("2", "nan") + REASON, "give a finite number from 1 on"),
        (LIMIT.replace("2", "true") + REASON, "limits[0].factor: True is no number"),
        (LIMIT.replace("2", '"2"') + REASON, "limits[0].factor: '2' is no number"),
        ("[[models.funnel.skip]]\n" + REASON, "models.funnel.skip[0].stage: missing"),
        ('[[models.funnel.skip]]\nstage = "data"\n', "models.funnel.skip[0].reason: missing"),
        ('[models.funnel.skip]\nstage = "data"\n', "write [[models.funnel.skip]], once for each"),
        ("[models.funnel]\nlimit = []\n", "unknown key models.funnel.limit (did you mean 'limits'?)"),
        ("[models.funnel]\nmax_diff = 1\n", "unknown key models.funnel.max_diff (did you mean 'max-diff'?)"),
        ("[models.funnel]\nmax-diff = -1\n", "models.funnel.max-diff: -1 is not a limit"),
        ("[models.funnel]\nmax-diff = nan\n", "models.funnel.max-diff: nan is not a limit"),
        ("[models]\nfunnel = 3\n", "models.funnel is not a table"),
        ("[models.funel]\nmax-diff = 1\n", "models.funel: no such model (did you mean 'funnel'?)"),
        ("[modles.funnel]\nmax-diff = 1\n", "unknown key modles (did you mean 'models'?)"),
        ("[models", "cannot be read"),
    ],
)
def test_what_is_not_known_is_refused_in_one_line(tmp_path, text, said):
    (tmp_path / "plumbline.toml").write_text(text)
    with pytest.raises(CannotCompareError) as caught:
        read_settings("electra", tmp_path)  # the file is checked whole, whatever model is asked for
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_files_side_by_side_are_refused(tmp_path):
    (tmp_path / "plumbline.toml").write_text(GOOD)
    (tmp_path / "pyproject.toml").write_text(indented(GOOD))
    with pytest.raises(CannotCompareError, match="keep one of them"):
        read_settings("funnel", tmp_path)
