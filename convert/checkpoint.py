"""A checkpoint on disk: config.json and weights in any format, its layout known, its tensors read one at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from convert.arrays import first_nonfinite, widen
from convert.configs import to_ours, told_by_tensors
from convert.errors import CheckpointError
from convert.formats import pdparams, safetensors_file, shards, tf_bundle, torch_bin
from convert.formats.stored import StoredTensor, json_object
from convert.layouts import names
from convert.originals import config_of_part, derived_config, layout_of

MARK = "plumbline_layout"  # the metadata key under which our own files name their layout
MANIFEST = "plumbline.json"  # which names it for those that have no metadata (see `convert.manifest`)
_SHARDED: Mapping[str, tuple[str, ModuleType]] = {
    "safetensors": ("model.safetensors", safetensors_file),
    "bin": ("pytorch_model.bin", torch_bin),
    "pdparams": ("model_state.pdparams", pdparams),
}
BUNDLE = tf_bundle.STEM + tf_bundle.SUFFIX  # as we write it; others are found by their suffix
FORMATS: Mapping[str, tuple[str, ModuleType]] = {  # what --format names → the file, and who reads and draws it
    **_SHARDED,
    "bundle": (BUNDLE, tf_bundle),
}
READERS = {
    name: reader
    for file, module in _SHARDED.values()
    for name, reader in ((file, module.index), (file + shards.SUFFIX, module.index_shards))
} | {BUNDLE: tf_bundle.index}
CONFIGS = ("config.json", "model_config.json")  # the second is PaddleNLP's older form
WRITERS = {"pt": "transformers", "np": "paddlenlp", "pd": "paddlenlp"}  # who writes which `format` into safetensors


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint: config.json's content, the layout's name, and where each tensor lies in its file.

    `derived`: the configuration is not the content of a file, but made from the authors' or from the tensors' shapes.
    """

    weights: Path
    config: dict[str, Any]
    layout: str
    tensors: Mapping[str, StoredTensor]
    derived: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The tensors' names, in the file's order."""
        return tuple(self.tensors)

    @property
    def files(self) -> list[Path]:
        """The files that the weights are in, with the index of shards."""
        return sorted({self.weights, *(path for tensor in self.tensors.values() for path in tensor.paths)})

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name to shape."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}

    @cached_property
    def dtypes(self) -> dict[str, str]:
        """Name to element type: float32, bfloat16, int64 …"""
        return {name: tensor.dtype for name, tensor in self.tensors.items()}

    def options(self, model: str) -> dict[str, Any]:
        """The configuration in our words (see `convert.configs`), where the checkpoint is one of `model`."""
        return to_ours(model, self.layout, self.config) | told_by_tensors(model, self.layout, self.tensors)

    def read(self, name: str, dtype: str | None = None) -> np.ndarray:
        """One tensor, read from disk now, in C order.

        bfloat16 and float8, which numpy lacks, come as float32 of the same value; with `dtype="float32"`, so does
        float16. Raises CheckpointError for a change that would not be exact.
        """
        tensor = self.tensors[name]
        array = tensor.read()
        if array.dtype.name != tensor.dtype:
            array = widen(array, tensor.dtype)
        if dtype is None or array.dtype == dtype:
            return array
        if not np.can_cast(array.dtype, dtype, "safe"):
            raise CheckpointError(f"{self.weights}: {name} is {tensor.dtype}, which {dtype} cannot hold exactly")
        return array.astype(dtype)

    def words(self, name: str) -> np.ndarray:
        """One tensor bit for bit as it is stored: as `read`, but bfloat16 comes as uint16, float8 as uint8."""
        return self.tensors[name].read()

    def check_finite(self) -> None:
        """Read every tensor; raise CheckpointError naming each one that holds an infinity or NaN, and where first."""
        found = {name: first_nonfinite(self.read(name)) for name in self.names}
        bad = [f"{name} at {list(at)}" for name, at in found.items() if at is not None]
        if bad:
            raise CheckpointError(f"{self.weights}: infinity or NaN in {', '.join(bad)}")


def open_checkpoint(
    directory: str | Path, layout: str | None = None, stored_as: str = "", part: str | None = None
) -> Checkpoint:
    """Open the checkpoint in `directory` without loading a tensor.

    Read are config.json with model.safetensors, pytorch_model.bin or model_state.pdparams (or the shards of one of
    these and their index), or a TensorFlow bundle, the first that is there. A folder with several bundles must have
    TensorFlow's `checkpoint` file; or `directory` is the path of one without its suffix, such as DIR/model.ckpt-1000.
    A bundle as its authors published it needs no config.json: see `derived_config`.

    `layout` says what the file cannot; without it the layout is found from our own mark, or from who writes such a
    file. `stored_as` names the element type that a .pdparams file does not mark: "bfloat16" (which stands there as
    uint16) or "float8_e4m3fn" (as int8); a file with both takes two, with a comma between them. `part` names what of an
    original checkpoint is wanted: of ELECTRA "discriminator", "generator" or "joint".

    Raises CheckpointError, one line, for whatever is missing, malformed or contradictory.
    """
    directory = Path(directory)
    bundle = tf_bundle.named(directory)
    if bundle:
        directory = bundle.parent
    elif not directory.is_dir():
        what = (
            "is a file; give the folder that holds it and its config.json" if directory.exists() else "does not exist"
        )
        raise CheckpointError(f"{directory} {what}")
    try:
        weights = bundle or _find_weights(directory, layout)
        config = _config_beside(weights)
        if stored_as and not weights.name.startswith("model_state.pdparams"):
            raise CheckpointError(f"{weights}: marks the type of each tensor; leave --stored-as out")
        reader = READERS.get(weights.name, tf_bundle.index)
        tensors, metadata = reader(weights, *filter(None, [stored_as]))
    except OSError as error:
        raise CheckpointError(f"{directory}: cannot be read: {error}") from None
    if not tensors:
        raise CheckpointError(f"{weights}: holds no tensor")
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    derived = config is None or part is not None
    if config is None:
        config = derived_config(directory, shapes, part, names())
    elif part is not None:
        config = config_of_part(directory, config, shapes, part, names())
    bundled = layout_of(shapes, names()) if weights.suffix == tf_bundle.SUFFIX else None
    return Checkpoint(weights, config, _layout(weights, metadata, config, layout, bundled), tensors, derived)


def _config_beside(weights: Path) -> dict[str, Any] | None:
    """The configuration in the weights' folder; None beside a TensorFlow bundle that has none."""
    if weights.name.endswith(tf_bundle.SUFFIX) and not any(weights.with_name(name).is_file() for name in CONFIGS):
        return None
    return read_config(weights.parent)


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
    present = [directory / name for name in READERS if name != BUNDLE and (directory / name).is_file()]
    if not present or layout in ("tf", "bert4keras"):
        bundle = tf_bundle.find(directory)
        present = [bundle] if bundle else present
    if not present:
        known = ", ".join(name for name in READERS if name != BUNDLE)
        raise CheckpointError(f"{directory}: has none of {known}, and no TensorFlow bundle (*.index)")
    usual = [path for path in present if layout == "paddlenlp" and path.name.startswith("model_state.pdparams")]
    return (usual or present)[0]


def _mark_beside(weights: Path) -> str | None:
    """The layout that the manifest beside a file gives it; None if that is of another file, or there is none."""
    path = weights.with_name(MANIFEST)
    match json_object(path) if path.is_file() else {}:
        case {"layout": str(layout), "files": {weights.name: {"bytes": size}}} if size == weights.stat().st_size:
            return layout
    return None


def _layout(
    weights: Path, metadata: Mapping[str, str], config: Mapping[str, Any], wanted: str | None, bundled: str | None
) -> str:
    """The layout of a weights file: as marked, else as `wanted`, else as the file's kind and the configuration tell.

    `bundled` is what the tensors of a TensorFlow bundle tell.
    """
    marked = metadata.get(MARK) or _mark_beside(weights)
    if marked and wanted and marked != wanted:
        raise CheckpointError(f"{weights}: is marked as layout {marked}, not {wanted}")
    kinds = {"pytorch_model.bin": "transformers", "model_state.pdparams": "paddlenlp"}
    by_name = bundled or kinds.get(weights.name.removesuffix(shards.SUFFIX))
    by_config = next((name for name in ("transformers", "paddlenlp") if f"{name}_version" in config), None)
    layout = marked or wanted or by_name or WRITERS.get(metadata.get("format", "")) or by_config
    if layout is None:
        raise CheckpointError(f"{weights}: nothing tells its layout; name it with --from")
    return layout
