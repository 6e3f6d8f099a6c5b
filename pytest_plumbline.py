"""Parity tests in pytest, as it finds them once the package is installed.

    @pytest.mark.parity("funnel", task="masked_lm", stages=("forward", "backward"))
    def test_funnel():                                   # one test for each stage, and nothing to write in it
        pass

    @pytest.mark.parity(stages=("forward", "backward"))
    def test_mine(assert_parity):                        # any two live modules
        assert_parity(MyTorchNet(), MyPaddleNet(), {"input_ids": ids})

A test fails with the verdict in one line and the whole report as a section; what could not be compared fails too, what
does not apply is skipped. Limits and skipped stages are those of plumbline.toml. Everything of ours is imported when a
test first needs it.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from align.client import Client
    from align.report import Report

_MARKER = (
    "parity(model=None, stages=('forward',), **case): compare a registered model (or what assert_parity is given), one "
    "test for each stage; the case is what the command line takes: task, variant, checkpoint, seed, batch, steps …"
)
_TRAINING = ("steps", "dropout", "optimizer")
_PATHS = ("checkpoint", "paddle_checkpoint", "batch", "text")
_report_key = pytest.StashKey["Report"]()
_text_key = pytest.StashKey[str]()
_chosen_key = pytest.StashKey[Sequence[str]]()
_sides_key = pytest.StashKey["_Sides"]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("parity", "parity of PyTorch and PaddlePaddle networks")
    group.addoption("--parity-stages", metavar="S,S…", help="of the stages that parity tests name, only these")
    group.addoption("--parity-in-process", action="store_true", help="both frameworks in this process, for debuggers")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)
    config.stash[_sides_key] = _Sides(config)
    named = config.getoption("--parity-stages")
    if named:
        try:
            config.stash[_chosen_key] = _stages(named.split(","))
        except ValueError as error:
            raise pytest.UsageError(f"--parity-stages: {error}") from None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("parity")
    if marker is None:
        return
    try:
        model, stages, _ = _read(marker)
    except (TypeError, ValueError) as error:
        pytest.fail(f"{metafunc.definition.nodeid}: pytest.mark.parity: {error}", pytrace=False)
    if not model and "assert_parity" not in metafunc.fixturenames:
        pytest.fail(f"{metafunc.definition.nodeid}: name a model, or take the fixture assert_parity", pytrace=False)
    chosen = metafunc.config.stash.get(_chosen_key, stages)
    metafunc.parametrize("parity_stage", [stage for stage in stages if stage in chosen], indirect=True)


@pytest.fixture(autouse=True)
def parity_stage(request: pytest.FixtureRequest) -> str | None:
    """The stage that this test is about; None without the marker `parity`."""
    return getattr(request, "param", None)


@pytest.fixture
def parity_report(request: pytest.FixtureRequest, parity_stage: str | None) -> Report:
    """The report on the model that the marker names."""
    return _compared(request.node)


@pytest.fixture
def assert_parity(request: pytest.FixtureRequest, parity_stage: str | None) -> Callable[..., Report]:
    """`assert_parity(torch_module, paddle_module, batch, stages=None)`: the report, if both are the same function.

    Without `stages` the marker's stage is run, or the forward stage.
    """

    def check(torch_module: Any, paddle_module: Any, batch: Any, stages: Sequence[str] | None = None) -> Report:
        import align

        with _translated():
            report = align.compare(torch_module, paddle_module, batch, stages or (parity_stage or "forward",))
        _judge(request.node, report)
        return report

    return check


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    marker = pyfuncitem.get_closest_marker("parity")
    if marker and _read(marker)[0]:
        _judge(pyfuncitem, _compared(pyfuncitem))
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and report.failed and _text_key in item.stash:
        report.sections.append(("parity report", item.stash[_text_key]))
    return report


def _read(marker: pytest.Mark) -> tuple[str | None, Sequence[str], dict[str, Any]]:
    """The model, the stages and the rest of a marker. TypeError or ValueError for what is not known."""
    bound = inspect.signature(_arguments).bind(*marker.args, **marker.kwargs)
    bound.apply_defaults()
    model, stages, case = bound.arguments["model"], bound.arguments["stages"], bound.arguments["case"]
    if case:
        from align.case import Case
        from convert.errors import nearest

        known = [*inspect.signature(Case).parameters, *_TRAINING]
        known = [name for name in known if name not in ("model", "raw_config")]
        for name in case:
            if name not in known or not model:
                raise ValueError(f"no option {name!r}{nearest(name, known)}" if model else f"{name} needs a model")
    return model, _stages([stages] if isinstance(stages, str) else stages), case


def _arguments(model: str | None = None, stages: Sequence[str] | str = ("forward",), **case: Any) -> None:
    """What the marker takes."""


def _stages(named: Sequence[str]) -> list[str]:
    """Stages by their names, "step1" or "all" among them. ValueError, with the nearest name, for one that is none."""
    from align.stages import STAGES
    from convert.errors import nearest

    known = {alias: [stage] for stage, entry in STAGES.items() for alias in entry.names(stage)}
    known["all"] = list(STAGES)
    for name in named:
        if name not in known:
            raise ValueError(f"no stage {name!r}{nearest(name, known)}")
    return list(dict.fromkeys(stage for name in named for stage in known[name]))


def _compared(item: pytest.Item) -> Report:
    """The report on a test's model and stage, made once."""
    if _report_key not in item.stash:
        item.stash[_report_key] = _compare(item)
    return item.stash[_report_key]


def _compare(item: pytest.Item) -> Report:
    from align.case import resolve
    from align.compare import judge_case
    from align.gates import Gates, read_settings
    from align.progress import Steps
    from align.stages import Options

    marker = item.get_closest_marker("parity")
    if marker is None:
        pytest.fail("parity_report needs @pytest.mark.parity(MODEL)", pytrace=False)
    model, _, named = _read(marker)
    stage = item.callspec.params["parity_stage"]  # type: ignore[attr-defined]
    training = {key: named.pop(key) for key in _TRAINING if key in named}
    paths = {key: item.path.parent / named.pop(key) for key in _PATHS if named.get(key) is not None}
    sides = item.config.stash[_sides_key]
    with _translated(sides):
        settings = read_settings(str(model), item.config.rootpath)
        if stage in settings.skipped:
            pytest.skip(f"{settings.source}: {settings.skipped[stage]}")
        gates = Gates(settings)
        case = resolve(str(model), **named, **paths)
        torch, paddle = sides.get()
        options = Options(**training)
        return gates.finish(judge_case(case, torch, paddle, Steps(), None, (stage,), options, gate=gates))


class _Sides:
    """Both workers, kept from test to test; started anew after one of them may have come to grief."""

    def __init__(self, config: pytest.Config) -> None:
        self._in_process = config.getoption("--parity-in-process")
        self._stack = contextlib.ExitStack()
        self._clients: tuple[Client, Client] | None = None
        config.add_cleanup(self.close)

    def get(self) -> tuple[Client, Client]:
        from align.compare import Interpreters, sides

        if self._clients is None:
            self._clients = self._stack.enter_context(sides(Interpreters(self._in_process)))
        return self._clients

    def close(self) -> None:
        self._clients = None
        self._stack.close()


@contextlib.contextmanager
def _translated(sides: _Sides | None = None) -> Iterator[None]:
    """What does not apply skips the test, and what could not be compared fails it in one line."""
    from align.errors import CannotCompareError, NotApplicableError

    try:
        yield
    except NotApplicableError as reason:
        pytest.skip(str(reason))
    except CannotCompareError as error:
        if sides:
            sides.close()
        pytest.fail(f"could not compare: {error}", pytrace=False)


def _judge(item: pytest.Item, report: Report) -> None:
    """Fail the test unless there is parity; either way the verdict is a property of it."""
    verdict = report.headline
    item.user_properties.append(("parity", verdict))
    if not report.passed:
        item.stash[_text_key] = str(report)
        pytest.fail(verdict, pytrace=False)
