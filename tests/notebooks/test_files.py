"""The notebooks in git are as a person opens them first: without outputs, for any Jupyter, with one switch."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import nbformat

from asset.tools.notebooks import strip, stripped
from tests.notebooks.conftest import FILES

ROOT = Path(__file__).resolve().parents[2]
FIX = "run `asset tools notebooks strip`"


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_the_four_notebooks_are_there() -> None:
    assert [file.stem for file in FILES] == [
        "evaluate-model-fill-mask",
        "fill-mask-online-endpoint",
        "finetune-text-classification",
        "sdk-example",
    ]


def test_a_notebook_is_kept_without_what_a_run_left(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text == stripped(text), FIX
    assert not re.search(r'"execution_count": \d|"output_type"', text), FIX


def test_a_notebook_opens_with_the_kernel_that_every_jupyter_has(notebook: nbformat.NotebookNode) -> None:
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    assert notebook.metadata == {"kernelspec": kernel, "language_info": {"name": "python"}}, FIX


def test_every_cell_has_a_name_of_its_own(notebook: nbformat.NotebookNode) -> None:
    names = [cell.id for cell in notebook.cells]
    assert len(set(names)) == len(names)
    # What Jupyter makes up for a new cell is hexadecimal; what is printed of a cell that fails should say what it does.
    assert [name for name in names if not re.fullmatch(r"[a-z]+(-[a-z]+)*", name)] == []


def test_one_switch_at_the_top_says_where_it_runs(notebook: nbformat.NotebookNode) -> None:
    first, *others = code(notebook)
    assert first.source.startswith("local = True  # False: in your Azure Machine Learning workspace\n")
    assert "ml_client = asset.client(local=local)" in first.source
    names = [
        node.id
        for cell in (first, *others)
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Name) and node.id == "local"
    ]
    assert names == ["local", "local"], "expected it to be set and given to the client, and nothing else"


def test_code_is_introduced_in_prose(notebook: nbformat.NotebookNode) -> None:
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[0] == "markdown" and notebook.cells[0].source.startswith("# ")
    assert kinds.count("markdown") >= 5
    assert "code code code" not in " ".join(kinds)
    assert all(len(cell.source.splitlines()) <= 40 for cell in notebook.cells)


def test_a_notebook_names_no_machine_and_only_files_that_are_there(file: Path, notebook: nbformat.NotebookNode) -> None:
    text = "\n".join(cell.source for cell in notebook.cells)
    assert re.findall(r"(?:/home|/Users|/root|/tmp|/work|/mnt|[A-Z]:\\)[\w/\\]*", text) == []
    named = re.findall(r"\]\((?!https?:)([^)#]+)", text) + re.findall(r'"(\.\./[^"]+)"', text)
    assert named
    # Weights come with a pull; the folder is in git.
    assert [name for name in named if not (file.parent / name).exists()] == []


def test_stripping_takes_out_what_a_run_left(file: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(file, as_version=4)
    first = code(notebook)[0]
    first.outputs, first.execution_count = [nbformat.v4.new_output("stream", text="something")], 3
    first.metadata["vscode"] = {"languageId": "python"}
    notebook.metadata["kernelspec"] = {"display_name": ".venv/dev (3.11.9)", "language": "python", "name": "dev"}
    nbformat.write(notebook, tmp_path / file.name)
    assert list(strip(tmp_path)) == [tmp_path / file.name]
    assert (tmp_path / file.name).read_bytes() == file.read_bytes()
