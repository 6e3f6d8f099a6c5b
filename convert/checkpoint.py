"""A checkpoint on disk: config.json and weights in any format, its layout known, its tensors read one at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from convert.arrays import first_nonfinite, widen_bfloat16
from convert.errors import CheckpointError
from convert.formats import pdparams, safetensors_file, torch_bin
from convert.formats.stored import StoredTensor, json_object

MARK = "plumbline_layout"  # the metadata key under which our own files name their layout
READERS = {
    "model.safetensors": safetensors_file.index,
    "model.safetensors.index.json": safetensors_file.index_shards,
    "pytorch_model.bin": torch_bin.index,
    "model_state.pdparams": pdparams.index,
}
CONFIGS = ("config.json", "model_config.json")  # the second is PaddleNLP's older form
WRITERS = {"pt": "transformers", "np": "paddlenlp", "pd": "paddlenlp"}  # who writes which `format` into safetensors


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint: config.json's content, the layout's name, and where each tensor lies in its file."""

    weights: Path
    config: dict[str, Any]
    layout: str
    tensors: Mapping[str, StoredTensor]

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors' names, in the file's order."""
        return tuple(self.tensors)

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name to shape."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}

    @cached_property
    def dtypes(self) -> dict[str, str]:
        """Name to element type: float32, bfloat16, int64 …"""
        return {name: tensor.dtype for name, tensor in self.tensors.items()}

    def read(self, name: str, dtype: str | None = None) -> np.ndarray:
        """One tensor, read from disk now, in C order. bfloat16, which numpy lacks, comes as float32 of the same value.

        With `dtype="float32"`, float16 is widened as well. Raises CheckpointError for a change that would not be exact.
        """
        tensor = self.tensors[name]
        array = widen_bfloat16(tensor.read()) if tensor.dtype == "bfloat16" else tensor.read()
        if dtype is None or array.dtype == dtype:
            return array
        if not np.can_cast(array.dtype, dtype, "safe"):
            raise CheckpointError(f"{self.weights}: {name} is {tensor.dtype}, which {dtype} cannot hold exactly")
        return array.astype(dtype)

    def words(self, name: str) -> np.ndarray:
        """One tensor bit for bit as it is stored: as `read`, but bfloat16 comes as uint16."""
        return self.tensors[name].read()

    def check_finite(self) -> None:
        """Read every tensor; raise CheckpointError naming each one that holds an infinity or NaN, and where first."""
        found = {name: first_nonfinite(self.read(name)) for name in self.names}
        bad = [f"{name} at {list(at)}" for name, at in found.items() if at is not None]
        if bad:
            raise CheckpointError(f"{self.weights}: infinity or NaN in {', '.join(bad)}")


def open_checkpoint(directory: str | Path, layout: str | None = None) -> Checkpoint:
    """Open the checkpoint in `directory` without loading a tensor.

    Read are config.json with model.safetensors (or its shards and their index), pytorch_model.bin or
    model_state.pdparams, the first of these that is there. `layout` says what the file cannot; without it the layout
    is found from our own mark, or from who writes such a file. Raises CheckpointError, one line, for whatever is
    missing, malformed or contradictory.
    """
    directory = Path(directory)
    if not directory.is_dir():
        what = (
            "is a file; give the folder that holds it and its config.json" if directory.exists() else "does not exist"
        )
        raise CheckpointError(f"{directory} {what}")
    try:
        config = read_config(directory)
        weights = _find_weights(directory, layout)
        tensors, metadata = READERS[weights.name](weights)
    except OSError as error:
        raise CheckpointError(f"{directory}: cannot be read: {error}") from None
    if not tensors:
        raise CheckpointError(f"{weights}: holds no tensor")
    return Checkpoint(weights, config, _layout(weights, metadata, config, layout), tensors)


def read_config(directory: Path) -> dict[str, Any]:
    """The content of config.json, or of PaddleNLP's older model_config.json brought into the same form."""
    for path in (directory / name for name in CONFIGS):
        if path.is_file():
            config = json_object(path)
            return config if path.name == CONFIGS[0] else _flat(path, config)
    raise CheckpointError(f"{directory}: has no config.json")


def _flat(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """PaddleNLP's older form nests the encoder's options in the head's: {"init_class", "init_args": [{…}], …}."""
    match config:
        case {"init_class": str(name), "init_args": [{} as inner, *_]}:
            own = {key: value for key, value in config.items() if key not in ("init_class", "init_args")}
            return _flat(path, inner) | own | {"architectures": [name]}
        case {"init_class": str(name)}:
            return {key: value for key, value in config.items() if key != "init_class"} | {"architectures": [name]}
    raise CheckpointError(f"{path}: no init_class; is it a PaddleNLP configuration?")


def _find_weights(directory: Path, layout: str | None) -> Path:
    """The weights to read. Where several layouts lie in one folder, the file that `layout` is usually stored in."""
    present = [name for name in READERS if (directory / name).is_file()]
    if layout == "paddlenlp" and "model_state.pdparams" in present:
        return directory / "model_state.pdparams"
    if not present:
        sharded = (
            " (sharded .bin files cannot be read)" if (directory / "pytorch_model.bin.index.json").exists() else ""
        )
        raise CheckpointError(f"{directory}: has none of {', '.join(READERS)}{sharded}")
    return directory / present[0]


def _layout(weights: Path, metadata: Mapping[str, str], config: Mapping[str, Any], wanted: str | None) -> str:
    """The layout of a weights file: as marked, else as `wanted`, else as the file's kind and the configuration tell."""
    marked = metadata.get(MARK)
    if marked and wanted and marked != wanted:
        raise CheckpointError(f"{weights}: is marked as layout {marked}, not {wanted}")
    by_name = {"pytorch_model.bin": "transformers", "model_state.pdparams": "paddlenlp"}.get(weights.name)
    by_config = next((name for name in ("transformers", "paddlenlp") if f"{name}_version" in config), None)
    layout = marked or wanted or by_name or WRITERS.get(metadata.get("format", "")) or by_config
    if layout is None:
        raise CheckpointError(f"{weights}: nothing tells its layout; name it with --from")
    return layout
