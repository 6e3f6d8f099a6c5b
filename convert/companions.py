"""Files that lie beside the weights and go along with them: vocabularies and the settings of tokenizers."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convert.formats.stored import json_object

SETTINGS = "tokenizer_config.json"
FILES = (  # the names under which transformers and PaddleNLP look for them, which are the same
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.json",
    SETTINGS,
    "special_tokens_map.json",
    "added_tokens.json",
)
_FAMILY = re.compile(r"(.+?)(For[A-Z]\w*|(Base)?Model|Discriminator|Generator)")


def companions(source: Path, target: str, config: Mapping[str, Any]) -> dict[str, bytes]:
    """Name → content of the tokenizer's files for a checkpoint in layout `target`, made from those in `source`.

    They are taken as they are, but for one thing: PaddleNLP's AutoTokenizer needs to read the name of its class, and
    knows no "Fast" one. That name is found from the architectures in `config`.
    """
    files = {name: (source / name).read_bytes() for name in FILES if (source / name).is_file()}
    if target == "paddlenlp" and files:
        settings = json_object(source / SETTINGS) if SETTINGS in files else {}
        named = str(settings.get("tokenizer_class") or settings.get("init_class") or _tokenizer_class(config))
        if named and settings.get("tokenizer_class") != (known := named.removesuffix("Fast")):
            files[SETTINGS] = json.dumps(settings | {"tokenizer_class": known}, indent=2, ensure_ascii=False).encode()
    return files


def _tokenizer_class(config: Mapping[str, Any]) -> str:
    """ElectraTokenizer for ElectraForMaskedLM; empty where no architecture is named."""
    family = _FAMILY.fullmatch(str(next(iter(config.get("architectures") or ()), "")))
    return f"{family[1]}Tokenizer" if family else ""
