"""plumbline.json, which lies beside a checkpoint that we wrote: what it was made from, by which rules, and how.

It holds no time and no place: the same conversion of the same files gives the same bytes.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from convert.checkpoint import CONFIGS, MANIFEST
from convert.checksums import UPDATE, file_checksum, named
from convert.companions import companions
from convert.plan import Table
from convert.transfer import Transfer, Written

SCHEMA = 1
Files = dict[str, dict[str, Any]]  # name → size and checksum


def beside(
    transfer: Transfer, options: Mapping[str, Any], tokenizer: Path | None
) -> Callable[[Sequence[Written]], dict[str, bytes]]:
    """What goes along with the weights of a transfer: the tokenizer's files from a folder, and the manifest of all.

    `options` are those of the user's that change what is written. The value is for `Transfer.run`.
    """

    def files(written: Sequence[Written]) -> dict[str, bytes]:
        others = companions(tokenizer, transfer.target, transfer.config) if tokenizer else {}
        small = others | {CONFIGS[0]: transfer.config_bytes()}
        weights: Files = {file.name: {"bytes": file.nbytes, "checksum": file.checksum} for file in written}
        content = manifest(transfer, weights | {name: described(data) for name, data in small.items()}, options)
        return others | {MANIFEST: json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"}

    return files


def manifest(transfer: Transfer, files: Files, options: Mapping[str, Any]) -> dict[str, Any]:
    """The content of the manifest for a checkpoint of these `files`."""
    source = {path.name: _described_file(path) for path in transfer.source.files}
    return {
        "schema": SCHEMA,
        "producer": f"plumbline {version()}",
        "model": transfer.rules.model,
        "layout": transfer.target,
        "files": dict(sorted(files.items())),
        "source": {"layout": transfer.rules.source, "files": source},
        "rules": {
            "checksum": rules_checksum(transfer.rules),
            "used": dict(sorted(transfer.plan.rules_used.items())),
            "dropped": dict(transfer.plan.dropped),
        },
        "options": dict(options),
    }


def described(content: bytes) -> dict[str, Any]:
    """Size and checksum of a small file."""
    return {"bytes": len(content), "checksum": named("crc32c", UPDATE["crc32c"](content))}


def _described_file(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "checksum": file_checksum(path)}


def rules_checksum(rules: Table) -> str:
    """Changes with any rule of the table, and with their order."""
    text = "\n".join(map(repr, rules.rules))
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def version() -> str:
    """Ours, as it is installed."""
    from importlib import metadata  # slow to import, and a dry run does without

    try:
        return metadata.version("plumbline")
    except metadata.PackageNotFoundError:
        return "not installed"
