"""One conversion as the command line asks for it: planned, carried out, and what came of it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from convert.checkpoint import Checkpoint, open_checkpoint
from convert.command.agreement import Agreement, compare
from convert.errors import ConvertError
from convert.layouts import names
from convert.manifest import beside
from convert.transfer import Transfer, VerificationError, Written, plan_transfer

Status = Literal["planned", "written", "damaged", "disagrees", "refused", "unchecked", "stopped"]
EXIT_CODES: dict[Status, int] = {
    "planned": 0,
    "written": 0,
    "damaged": 1,  # it did not read back as it was written
    "disagrees": 1,  # written, but the two sides compute different things
    "refused": 2,
    "unchecked": 2,  # written, but the two sides could not be compared
    "stopped": 2,
}


@dataclass(frozen=True)
class Options:
    """What the user chose for all conversions of one call."""

    target: str
    model: str | None = None
    layout: str | None = None
    dtype: str | None = None
    stored_as: str = ""
    part: str | None = None
    form: str | None = None
    max_shard_size: str | None = None
    verify: bool = True
    resume: bool = False
    check_forward: bool = False

    @property
    def of_content(self) -> dict[str, Any]:
        """Those that change what is written."""
        return {name: getattr(self, name) for name in ("part", "stored_as", "dtype", "form", "max_shard_size")}


@dataclass
class Job:
    """One conversion; `status` says how far it has come, `error` why it went no further."""

    source: Path
    destination: Path
    options: Options
    status: Status = "planned"
    error: str = ""
    model: str = ""
    transfer: Transfer | None = None  # once it is planned
    files: tuple[Written, ...] = ()  # once they are in place
    agreement: Agreement | None = None  # once both sides have run
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.status]

    @property
    def done(self) -> bool:
        """Whether it came to what was asked: a plan, or a checkpoint in its place."""
        return self.status in ("planned", "written", "disagrees", "unchecked")

    @property
    def nbytes(self) -> int:
        """Bytes to write; 0 where it could not be planned."""
        return self.transfer.nbytes if self.transfer else 0

    def plan(self) -> None:
        """Prove that the conversion is possible; only headers are read."""
        with self._attempt():
            chosen = self.options
            source = open_checkpoint(self.source, chosen.layout, chosen.stored_as, chosen.part)
            self.model = chosen.model or guess_model(source)
            ask = (chosen.target, chosen.dtype, chosen.form, chosen.max_shard_size)
            self.transfer = plan_transfer(source, self.model, *ask)

    def run(self, progress: Callable[[int], object] = int) -> None:
        """Carry out what was planned; `progress` is told the bytes as they are written."""
        if self.transfer is None:
            return
        with self._attempt():
            others = beside(self.transfer, self.options.of_content, tokenizer=self.transfer.source.weights.parent)
            ask = self.options.verify, progress, self.options.resume, others
            self.files = self.transfer.run(self.destination, *ask)
            self.status = "written"
            if self.options.check_forward:
                self.status = "unchecked"
                self.agreement = compare(self.transfer, self.source, self.options.part, self.destination)
                self.status = "written" if self.agreement.passed else "disagrees"
                self.error = "" if self.agreement.passed else self.agreement.verdict

    @contextmanager
    def _attempt(self) -> Iterator[None]:
        """Take the time, and note down why it failed if it does."""
        started = time.perf_counter()
        try:
            yield
        except ConvertError as error:
            self.status = "unchecked" if self.status == "unchecked" else "refused"
            self.error = str(error)
        except VerificationError as error:
            self.status, self.error = "damaged", str(error)
        except KeyboardInterrupt as stop:
            left = f"{self.destination} is written, but was not checked" if self.files else "nothing was written"
            self.status, self.error = "stopped", f"stopped; {str(stop) or left}"
            raise
        finally:
            self.seconds += time.perf_counter() - started


def guess_model(source: Checkpoint) -> str:
    """The architecture that a configuration names in its "model_type"."""
    kind = source.config.get("model_type")
    written = {name.replace("_", ""): name for name in names()}
    name = written.get(str(kind).replace("-", "").replace("_", ""))
    if name is None:
        known = f"of which {', '.join(names())} are known"
        said = f'has model_type "{kind}"' if kind else "has no model_type"
        raise ConvertError(
            f"{source.weights.parent}: its configuration {said}; name the architecture with --model, {known}"
        )
    return name


def find_jobs(source: Path, destination: Path, options: Options) -> list[Job]:
    """A job for each checkpoint folder in `source`, to a folder of the same name in `destination`."""
    try:
        folders = sorted(path for path in source.iterdir() if path.is_dir())
    except OSError as error:
        raise ConvertError(f"{source}: cannot be read: {error.strerror}") from None
    if destination.resolve() == source.resolve():
        raise ConvertError(f"{destination}: source and destination are the same folder")
    chosen = [path for path in folders if path.resolve() != destination.resolve() and any(path.iterdir())]
    if not chosen:
        raise ConvertError(f"{source}: holds no folder to convert; give the folder that holds the checkpoints' folders")
    return [Job(path, destination / path.name, options) for path in chosen]
