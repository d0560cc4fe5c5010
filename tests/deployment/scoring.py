"""What the script of batch deployments wrote."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Scored:
    """The folder of outputs, and what run() returned."""

    output: Path
    summaries: list[dict[str, Any]]

    def rows(self, name: str, kind: str = "answers") -> list[dict[str, Any]]:
        """Return the rows of a file's output, parsed."""
        text = (self.output / f"{name}.{kind}.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def answers(self, name: str) -> list[Any]:
        """Return what is said of each row: its answer, or the code of its error."""
        return [row["answer"] if "answer" in row else row["error"]["code"] for row in self.rows(name)]

    def summary(self, name: str) -> dict[str, Any]:
        """Return a file's summary."""
        return json.loads((self.output / f"{name}.summary.json").read_bytes())

    @property
    def files(self) -> list[str]:
        """Return the names of all that there is."""
        return sorted(path.relative_to(self.output).as_posix() for path in self.output.rglob("*"))
