"""MLTable files: what the evaluation reads of them, and that their data is there."""

from __future__ import annotations

from collections.abc import Iterator

from asset.findings import Finding
from asset.yaml_file import YamlFile
from registry.validate.asset_folder import AssetFolder
from tables.mltable import MLTableError, read


def check(file: YamlFile, asset: AssetFolder) -> Iterator[Finding]:
    """Check a table by the rules of the evaluation itself."""
    try:
        read(file.path)
    except MLTableError as exc:
        yield Finding(file.place(*exc.keys), exc.message, exc.fix, "mltable")
    except (OSError, ValueError) as exc:
        yield Finding(file.place("paths"), f"expected paths of this machine, found: {exc}", "correct it", "mltable")
