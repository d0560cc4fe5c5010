"""Write the description beside score.py: `python -m serving.openapi`.

The inference server reads swagger2.json, swagger3.json and swagger3.1.json there when it starts, and makes an empty
description of its own for a version whose file is missing.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from serving.openapi.documents import openapi30, openapi31
from serving.openapi.swagger2 import swagger2
from serving.rows import Json
from serving.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


def documents(version: str) -> dict[str, Json]:
    """Return each file's content by its name; `version` is the asset's."""
    settings = Settings()
    newest = openapi31(settings, version)
    return {
        "swagger2.json": swagger2(settings, version),
        "swagger3.json": openapi30(newest),
        "swagger3.1.json": newest,
    }


def text(document: Json) -> str:
    """Return a file's text."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def asset_version() -> str:
    """Return the version that pyproject.toml gives."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def main() -> None:
    """Write the files."""
    for name, document in documents(asset_version()).items():
        (ROOT / name).write_text(text(document), encoding="utf-8")


if __name__ == "__main__":
    main()
