"""A checkpoint in several files of one format, and the index file that says which tensor is in which.

Source: transformers 4.57 and PaddleNLP 2.8.1, whose index files have the same form: model-00001-of-00002.safetensors
beside model.safetensors.index.json, and so with pytorch_model.bin and model_state.pdparams.
"""

from collections.abc import Callable
from pathlib import Path

from convert.errors import CheckpointError
from convert.formats.stored import StoredTensor, json_object

Index = tuple[dict[str, StoredTensor], dict[str, str]]  # what a reader finds: the tensors, and the metadata
SUFFIX = ".index.json"


def read(path: Path, reader: Callable[[Path], Index]) -> Index:
    """The tensors of all shards that the index file `path` names; it must agree with each shard's own list."""
    places = json_object(path).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        raise CheckpointError(f"{path}: no weight_map of tensor to file")
    expected: dict[str, set[str]] = {}
    for name, file in places.items():
        expected.setdefault(file, set()).add(name)
    tensors: dict[str, StoredTensor] = {}
    metadata: dict[str, str] = {}
    for file, names in expected.items():
        if Path(file).name != file or not (path.parent / file).is_file():
            raise CheckpointError(f"{path}: shard {file} is not in the folder")
        found, metadata = reader(path.parent / file)
        odd = found.keys() ^ names
        if odd:
            raise CheckpointError(f"{path}: {file} and the index disagree on {', '.join(sorted(odd))}")
        tensors |= found
    return tensors, metadata
