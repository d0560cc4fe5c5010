"""How large the product's Python code is, beside the targets that keep it readable."""

from __future__ import annotations

import ast
import statistics
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SMALL = 50
"""A file of so many lines or fewer is a hop for the reader that may not be worth it."""

TARGETS = {
    "Python files": "260 or fewer",
    "lines": "36,000 or fewer",
    f"files of {SMALL} lines or fewer": "fewer than 20",
    "lines of a function, median": "8 or fewer",
    "lines of a function, 90th percentile": "22 or fewer",
    "words of README.md": "1,000 or fewer",
}


@dataclass(frozen=True)
class Size:
    """The lines of each Python file outside of tests/, the lines of each function, and the words of README.md."""

    files: dict[str, int]
    functions: list[int]
    readme_words: int

    @property
    def small(self) -> dict[str, int]:
        """Return the small files with their lines."""
        return {path: lines for path, lines in self.files.items() if lines <= SMALL}

    @property
    def figures(self) -> dict[str, float]:
        """Return the figure for each target."""
        functions = self.functions or [0]
        ninth = statistics.quantiles(functions, n=10)[8] if len(functions) > 1 else functions[0]
        figures = [len(self.files), sum(self.files.values()), len(self.small)]
        return dict(zip(TARGETS, [*figures, statistics.median(functions), ninth, self.readme_words], strict=True))

    def as_dict(self) -> dict[str, Any]:
        """Return the figures, and the small files, for JSON."""
        return {"figures": self.figures, "targets": TARGETS, "small_files": self.small}

    def text(self) -> str:
        """Return the figures beside their targets, and the list of small files."""
        lines = [f"{name:38} {figure:>8,.6g}   {TARGETS[name]}" for name, figure in self.figures.items()]
        lines += [f"  {lines:>4} {path}" for path, lines in sorted(self.small.items(), key=lambda item: item[::-1])]
        return "".join(f"{line}\n" for line in lines)


def measure(root: Path) -> Size:
    """Measure the Python files that git has in a checkout."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()
    paths = [path for path in sorted(listed) if not path.startswith("tests/") and (root / path).is_file()]
    texts = {path: (root / path).read_text(encoding="utf-8") for path in paths}
    readme = root / "README.md"
    return Size(
        {path: len(text.splitlines()) for path, text in texts.items()},
        [lines for text in texts.values() for lines in _functions(text)],
        len(readme.read_text(encoding="utf-8").split()) if readme.is_file() else 0,
    )


def _functions(text: str) -> Iterator[int]:
    """Yield the number of lines of each function, from its def to its last line."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield (node.end_lineno or node.lineno) - node.lineno + 1
