"""From one checkpoint folder to another: planned, streamed, read back, and put in place only when it is whole."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from convert.checkpoint import CONFIGS, FORMATS, MARK, READERS, Checkpoint
from convert.configs import from_ours
from convert.errors import CheckpointError, ConvertError
from convert.formats.blueprint import Blueprint, Tensors, nbytes
from convert.layouts import table
from convert.plan import Plan, Table
from convert.transfer.staging import staged
from convert.transfer.stream import Stream, same_tensor
from convert.transfer.verify import VerificationError, read_back
from convert.transfer.write import Checksums, Writer, Written

__all__ = ["OUTPUTS", "Transfer", "VerificationError", "Written", "plan_transfer", "size_of"]

# The formats in which each layout is written, the usual one first.
OUTPUTS: Mapping[str, tuple[str, ...]] = {
    "torch": ("safetensors", "bin"),
    "transformers": ("safetensors", "bin"),
    "paddle": ("safetensors", "pdparams"),
    "paddlenlp": ("pdparams", "safetensors"),
    "tf": ("bundle",),
    "bert4keras": ("bundle",),
}
MARKS = {"torch": "pt", "transformers": "pt"}  # safetensors' `format`; transformers refuses a file without its own
SHARD = re.compile(r"-\d{5}-of-\d{5}\.")
UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True)
class Transfer:
    """A proved plan to bring `source` into the layout `rules.target`: the `tensors` to write, into which files.

    `config` is the content of the config.json to write, in the words of that layout.
    """

    source: Checkpoint
    rules: Table
    plan: Plan
    tensors: Tensors
    blueprints: Sequence[Blueprint]
    config: Mapping[str, Any]

    @property
    def target(self) -> str:
        """The layout to write."""
        return self.rules.target

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors to write."""
        return sum(nbytes(*described) for described in self.tensors.values())

    def run(
        self,
        destination: Path,
        verify: bool = True,
        progress: Callable[[int], object] = int,
        resume: bool = False,
        beside: Callable[[Sequence[Written]], Mapping[str, bytes]] = lambda written: {},
    ) -> tuple[Written, ...]:
        """Write the checkpoint folder `destination`; returns its files. `progress` is told bytes of tensors written.

        All is made in a folder of its own inside the destination, read back and compared (unless `verify` is false),
        and only then put in place, config.json last. `beside` gives small files to go along, name → content, once the
        weights are written. With `resume`, shards that a killed run of the same work has finished are kept.

        Raises MappingError where tied weights differ, CheckpointError for infinities, NaN or a folder that cannot take
        the output, VerificationError where a file does not read back as written.
        """
        _check_folders({path.parent for path in self.source.files}, destination)
        self.plan.check_ties(lambda a, b: same_tensor(self.source.tensors[a], self.source.tensors[b]))
        streams, work = self._streams(), self._work()
        with staged(destination, [blueprint.name for blueprint in self._weights], work, resume) as stage:
            _check_others(destination, {blueprint.name for blueprint in self.blueprints})
            _check_space(destination, self.nbytes - sum(written.nbytes for written, _ in stage.finished.values()))

            def note(written: Written, checksums: Checksums) -> None:
                if checksums and all(streams[name].nonfinite is None for name in checksums):
                    stage.note(written, checksums)

            with Writer(stage.folder, streams, progress, note) as writer:
                self._write(writer, stage.finished)
                self._check_finite(streams)
                if verify:
                    self._verify(stage.folder, writer)
                others = {**beside(writer.written), CONFIGS[0]: self.config_bytes()}
                for name, content in others.items():
                    writer.write(Blueprint(name, (content,)))
                writer.wait()
            stage.put_in_place([*(blueprint.name for blueprint in self._indices), *others])
        return tuple(writer.written)

    def config_bytes(self) -> bytes:
        """The source's config.json byte for byte, unless another layout has other words for it."""
        path = self.source.weights.with_name(CONFIGS[0])
        if self.config == self.source.config and path.exists() and not self.source.derived:
            return path.read_bytes()
        return json.dumps(self.config, indent=2, ensure_ascii=False).encode() + b"\n"

    @cached_property
    def _weights(self) -> list[Blueprint]:
        """The files that hold tensors."""
        return [blueprint for blueprint in self.blueprints if blueprint.tensors]

    @cached_property
    def _indices(self) -> list[Blueprint]:
        return [blueprint for blueprint in self.blueprints if not blueprint.tensors]

    def _streams(self) -> dict[str, Stream]:
        tensors = self.source.tensors
        return {
            step.target: Stream(tensors[step.source], step.rule.op, self.tensors[step.target][0])
            for step in self.plan.steps
        }

    def _work(self) -> str:
        """Differs wherever another run would write other bytes: for other sources, rules, types or files."""
        try:
            stats = [(str(path.resolve()), path.stat()) for path in self.source.files]
            sources = [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]
        except OSError as error:
            raise CheckpointError(f"{self.source.weights}: cannot be read: {error}") from None
        files = [(blueprint.name, blueprint.pieces) for blueprint in self.blueprints]
        return hashlib.sha256(repr((sources, self.plan.steps, self.tensors, files)).encode()).hexdigest()

    def _write(self, writer: Writer, finished: Mapping[str, tuple[Written, Checksums]]) -> None:
        for blueprint in (*self._weights, *self._indices):
            if blueprint.name in finished:
                writer.keep(*finished[blueprint.name])
            else:
                writer.write(blueprint)

    def _check_finite(self, streams: Mapping[str, Stream]) -> None:
        found = {name: stream.nonfinite for name, stream in streams.items()}
        bad = [f"{name} at {list(at)}" for name, at in found.items() if at is not None]
        if bad:
            raise CheckpointError(f"{self.source.weights}: infinity or NaN in what becomes {', '.join(bad)}")

    def _verify(self, folder: Path, writer: Writer) -> None:
        entry = next(blueprint.name for blueprint in self.blueprints if blueprint.name in READERS)
        kinds = {name: blueprint.checksum for blueprint in self._weights for name in blueprint.tensors}
        read_back(folder / entry, READERS[entry], self.tensors, kinds, writer.checksums)


def plan_transfer(
    source: Checkpoint,
    model: str,
    target: str,
    dtype: str | None = None,
    form: str | None = None,
    max_shard_size: str | int | None = None,
) -> Transfer:
    """Prove that `source` can be brought into layout `target`; nothing is read or written but headers.

    `dtype="float32"` widens the smaller floating types, exactly. `form` is one of `OUTPUTS[target]`. With
    `max_shard_size` ("2GB", see `size_of`) the tensors are spread over files of at most so many bytes of them.

    Raises MappingError with all names that do not fit, CheckpointError for a type that the format cannot hold,
    ConvertError for an unknown model, layout, form or size.
    """
    if target not in OUTPUTS:
        raise ConvertError(f"layout {target} is read, but not written; written are {', '.join(OUTPUTS)}")
    options = source.options(model)
    rules = table(model, source.layout, target, options)
    plan = rules.plan(source.shapes)
    tensors = {step.target: (_dtype(source, step.source, dtype), step.shape) for step in plan.steps}
    form = form or OUTPUTS[target][0]
    if form not in OUTPUTS[target]:
        raise ConvertError(f"layout {target} is written as {' or '.join(OUTPUTS[target])}, not as {form}")
    metadata = {MARK: target, "producer": "plumbline"}
    if form == "safetensors":
        metadata["format"] = MARKS.get(target, "np")
    shards = _split(tensors, size_of(max_shard_size) if max_shard_size else None)
    config = source.config if target == source.layout else from_ours(model, target, options)
    return Transfer(source, rules, plan, tensors, FORMATS[form][1].draw(shards, metadata), config)


def size_of(text: str | int) -> int:
    """Bytes that a text such as 500MB, 2GB (10⁹ each) or 2GiB (2³⁰ each) means. Raises ConvertError for any other."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMG]i?B)?", str(text), re.IGNORECASE)
    size = round(float(found[1]) * UNITS[(found[2] or "").upper()]) if found else 0
    if size < 1:
        raise ConvertError(f"{text!r} is no size; write 500MB, 2GB or 2GiB")
    return size


def _dtype(source: Checkpoint, name: str, wanted: str | None) -> str:
    """The type that a tensor is to have; CheckpointError where that would not be exact."""
    stored = source.dtypes[name]
    if wanted is None or "float" not in stored:
        return stored
    if wanted != "float32" or stored == "float64":
        raise CheckpointError(f"{source.weights}: {name} is {stored}, which {wanted} cannot hold exactly")
    return wanted


def _split(tensors: Tensors, limit: int | None) -> Sequence[Tensors]:
    """The tensors in their order, as many together as fit into `limit` bytes; a larger one stays alone."""
    shards: list[dict[str, tuple[str, tuple[int, ...]]]] = [{}]
    filled = 0
    for name, described in tensors.items():
        size = nbytes(*described)
        if limit is not None and shards[-1] and filled + size > limit:
            shards.append({})
            filled = 0
        shards[-1][name] = described
        filled += size
    return shards


def _check_folders(sources: Collection[Path], destination: Path) -> None:
    if destination.exists() and not destination.is_dir():
        raise CheckpointError(f"{destination} is a file; name a folder")
    if destination.exists() and any(destination.samefile(source) for source in sources):
        raise CheckpointError(f"{destination}: source and destination are the same folder")


def _check_others(destination: Path, names: Collection[str]) -> None:
    """Refuse to put a checkpoint beside another one, which might be loaded in its stead."""
    present = sorted(path.name for path in destination.iterdir())
    others = [name for name in present if name not in names and (name in READERS or SHARD.search(name))]
    if others:
        raise CheckpointError(f"{destination}: already holds {', '.join(others)}; remove it or name another folder")


def _check_space(destination: Path, needed: int) -> None:
    free = shutil.disk_usage(destination).free
    if free < needed:
        raise CheckpointError(f"{destination}: needs {needed / 1e6:.0f} MB, but {free / 1e6:.0f} MB are free")
