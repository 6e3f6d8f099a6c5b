"""What a call did, for programs: the JSON that `--json` writes."""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convert.command.job import Job
from convert.errors import ConvertError

SCHEMA = 1


def check_writable(path: Path) -> None:
    """Refuse before the work, not after it, what could not be written."""
    parent = path.resolve().parent
    if path.is_dir() or not parent.is_dir() or not os.access(parent, os.W_OK):
        raise ConvertError(f"--json {path}: name a file in a folder that exists and can be written")


def write(path: Path, jobs: Sequence[Job]) -> None:
    """Write the report on all jobs of one call, whole or not at all."""
    content = {
        "schema": SCHEMA,
        "passed": all(job.exit_code == 0 for job in jobs),
        "conversions": [_conversion(job) for job in jobs],
    }
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
        temporary.replace(path)
    except OSError as error:
        raise ConvertError(f"--json {path}: cannot be written: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _conversion(job: Job) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "source": str(job.source),
        "destination": str(job.destination),
        "status": job.status,
        "exit_code": job.exit_code,
        "error": job.error or None,
        "seconds": round(job.seconds, 3),
        "agreement": job.agreement.as_json() if job.agreement else None,
    }
    if job.transfer is None:
        return facts
    plan = job.transfer.plan
    return facts | {
        "model": job.model,
        "from": job.transfer.source.layout,
        "to": job.transfer.target,
        "tensors": len(job.transfer.tensors),
        "bytes": job.transfer.nbytes,
        "rules": dict(sorted(plan.rules_used.items())),
        "dropped": dict(plan.dropped),
        "files": [dataclasses.asdict(file) for file in job.files],
    }
