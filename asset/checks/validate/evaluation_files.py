"""The files that an evaluation reads: its settings, such as evaluation/evaluation-config.json, and its tables (MLTable)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asset.checks.validate.asset_folder import AssetFolder
from asset.findings import Finding, Place, one_of
from asset.yaml_file import YamlFile
from evaluation.config import IGNORED, KEYS, read_config
from evaluation.errors import ConfigError
from tables.disk import read_text
from tables.mltable import MLTableError, read

RULE = "evaluation-config"


def check_evaluation_config(path: Path, asset: AssetFolder) -> Iterator[Finding]:
    """Check each key by the rules of the evaluation itself."""
    try:
        text = read_text(path, "utf-8-sig")
        twice: list[str] = []
        found = json.loads(text, object_pairs_hook=lambda pairs: _unique(pairs, twice)) if text.strip() else {}
    except OSError as exc:
        yield Finding(Place.in_file(path, 1), f"expected a file of JSON, found: {exc.strerror}", "name one", RULE)
        return
    except json.JSONDecodeError as exc:
        yield Finding(Place.in_file(path, exc.lineno), f"expected JSON, found: {exc.msg}", "correct it", RULE)
        return
    except (ValueError, RecursionError) as exc:
        yield Finding(Place.in_file(path, 1), f"expected JSON, found: {exc}", "correct it", RULE)
        return
    if not isinstance(found, dict):
        message = f"expected a JSON object, found {str(found)[:80]!r}"
        yield Finding(Place.in_file(path, 1), message, 'write {"seed": 17}', RULE)
        return
    for key in twice:
        message = f"expected each key once, found {key!r} twice"
        yield Finding(Place.in_file(path, _line(text, key)), message, "delete one of the two", RULE)
    for key, value in found.items():
        place = Place.in_file(path, _line(text, key))
        if key not in KEYS and key not in IGNORED:
            yield one_of(key, KEYS, f"unknown key {key!r}").at(place, RULE)
            continue
        try:
            read_config(params=json.dumps({key: value}))
        except ConfigError as exc:
            yield Finding(place, str(exc).split(": ", 1)[-1], "correct it, or leave it out for its default", RULE)


def _unique(pairs: list[tuple[str, Any]], twice: list[str]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice += sorted({name for name in names if names.count(name) > 1})
    return dict(pairs)


def _line(text: str, key: str) -> int:
    """Return the line of a key's last mention, which is the one that JSON takes."""
    written = re.escape(json.dumps(key, ensure_ascii=False))
    places = [match.start() for match in re.finditer(rf"{written}\s*:", text)]
    return text[: places[-1]].count("\n") + 1 if places else 1


def check_table(file: YamlFile, asset: AssetFolder) -> Iterator[Finding]:
    """Check a table by the rules of the evaluation itself."""
    try:
        read(file.path)
    except MLTableError as exc:
        yield Finding(file.place(*exc.keys), exc.message, exc.fix, "mltable")
    except (OSError, ValueError) as exc:
        yield Finding(file.place("paths"), f"expected paths of this machine, found: {exc}", "correct it", "mltable")
