"""From a live model to a checkpoint."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from convert.checkpoint import Checkpoint
from convert.errors import ConvertError
from convert.formats.stored import StoredTensor
from convert.live.framework import Framework, architecture_of, framework_of
from convert.manifest import beside
from convert.transfer import plan_transfer


@dataclass(frozen=True)
class LiveTensor(StoredTensor):
    """A tensor of a live model in the place of a stored one; `path` holds its name."""

    framework: Framework = field(kw_only=True, compare=False)
    tensor: Any = field(kw_only=True, compare=False)

    @property
    def in_order(self) -> bool:
        return False

    def read(self) -> np.ndarray:
        return self.framework.words_of(self.tensor)


class LiveModel(Checkpoint):
    """A live model in the place of a checkpoint on disk."""

    @property
    def files(self) -> list[Path]:
        return []


def save(
    model: Any,
    directory: str | Path,
    layout: str | None = None,
    *,
    config: Any,
    tokenizer: str | Path | None = None,
    form: str | None = None,
    max_shard_size: str | int | None = None,
) -> None:
    """Write a live model of ours as a checkpoint folder: in its framework's own layout, or in `layout`.

    `config` is the configuration it was built with, or the content of a config.json in our words. `tokenizer` is a
    folder whose vocabulary and tokenizer settings go along. `form` and `max_shard_size` as for `plan_transfer`. All is
    written, read back and put in place as by the command line.

    Raises MappingError with all names that do not fit the layout, ConvertError for whatever else is wrong.
    """
    framework, architecture = framework_of(type(model)), architecture_of(type(model))
    options = dataclasses.asdict(config) if dataclasses.is_dataclass(config) else dict(config)  # type: ignore[arg-type]
    options |= {"model_type": architecture, "architectures": [type(model).__name__]}
    tensors = {name: _live(framework, name, tensor) for name, tensor in framework.parameters(model)}
    source = LiveModel(Path(type(model).__name__), options, framework.name, tensors)
    transfer = plan_transfer(source, architecture, layout or framework.name, form=form, max_shard_size=max_shard_size)
    folder = None if tokenizer is None else Path(tokenizer)
    if folder is not None and not folder.is_dir():
        raise ConvertError(f"{folder}: is no folder with a tokenizer's files")
    chosen = {"form": form, "max_shard_size": max_shard_size}
    transfer.run(Path(directory), beside=beside(transfer, chosen, folder))


def _live(framework: Framework, name: str, tensor: Any) -> LiveTensor:
    shape = tuple(int(size) for size in tensor.shape)
    return LiveTensor(Path(name), 0, framework.dtype_of(tensor), shape, framework=framework, tensor=tensor)
