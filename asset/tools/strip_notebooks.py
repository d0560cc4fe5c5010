"""Take out of the notebooks what a run leaves in them: outputs, counts, and which machine and editor it was.

    python -m asset.tools.strip_notebooks              those of this checkout, in place

What is left is what git keeps: prose, code, the ids of cells, and a kernel that every Jupyter and VS Code knows.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbstripout import strip_output

from asset.tools.notebooks import NOTEBOOKS

KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def stripped(text: str) -> str:
    """Return a notebook's file as it is to be kept."""
    notebook = nbformat.reads(text, as_version=4)
    strip_output(notebook, keep_output=False, keep_count=False, keep_id=True)
    notebook.metadata = nbformat.from_dict(KERNEL)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
    return nbformat.writes(notebook) + "\n"


def main(folder: Path = NOTEBOOKS) -> int:
    """Strip each notebook of a folder, and name those that were changed."""
    for file in sorted(folder.glob("*.ipynb")):
        before = file.read_text(encoding="utf-8")
        if (after := stripped(before)) != before:
            file.write_text(after, encoding="utf-8")
            sys.stdout.write(f"stripped {file.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
