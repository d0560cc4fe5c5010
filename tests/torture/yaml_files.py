"""YAML of jobs, components, endpoints and assets, for `asset validate` and, of jobs, `asset run` up to its first step.

Each is refused with findings (an InvalidFileError, exit status 1 or 2), or is good; a finding that is a fault of the
command's own is a broken promise.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import typer

from asset.checks.pipeline.data import OwnModel
from asset.checks.pipeline.job import checked_job
from asset.checks.validate.collect import FAULT
from asset.cli.validate import validate
from asset.findings import InvalidFileError, JobError
from asset.local.jobs.plan import plan_job
from tests.torture.attack import BrokenPromise, drawing, shown
from tests.torture.yaml_damages import DAMAGES, structure, text

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("evaluation", "environment", "deployment", "finetune", "model/bert-base-cased", "model/embedded/MLmodel")
COPIED += ("spec.yaml", "asset.yaml", "model.yaml", "sku_lists.yaml", "description.md", "score.py")
OUTPUT_CHARACTERS = 400_000
MESSAGE_CHARACTERS = 4000


class YamlFiles:
    """Changes one file of a copy of the checkout at a time, has it checked, and puts it back."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._seed, self._root = seed, folder / "checkout"
        for name in COPIED:
            source, target = ROOT / name, self._root / name
            target.parent.mkdir(parents=True, exist_ok=True)
            ignored = shutil.ignore_patterns("*.py", "__pycache__", "*.jsonl", "*.safetensors")
            shutil.copytree(source, target, ignore=ignored) if source.is_dir() else shutil.copy(source, target)
        for task in ("fill-mask", "question-answering", "text-classification"):  # what the SDK imports, once
            self._job(self._root / f"evaluation/evaluate-model-{task}.yml")
        self._files = sorted(path for path in self._root.rglob("*") if path.suffix in (".yml", ".yaml"))
        self._files += sorted(self._root.rglob("MLmodel"))

    def watched(self) -> int:
        """Return this process: the commands run in it."""
        return os.getpid()

    def case(self, number: int) -> Counter[str]:
        """Change one file, and check it, or the job that names it."""
        draw = drawing("yaml", self._seed, number)
        path = draw.choice(self._files)
        before = path.read_bytes()
        damage = (*DAMAGES, structure, structure, structure, text)[number % (len(DAMAGES) + 4)]
        try:
            damage(path, draw)
            outcomes = [f"validate {self._validated(path)}"]
            job = self._job_of(path)
            if job is not None:
                outcomes.append(f"run {self._job(job)}")
        except BaseException as exc:
            exc.add_note(f"{damage.__name__} of {path.relative_to(self._root)}: {shown(_start_of(path))}")
            raise
        finally:
            if not os.environ.get("TORTURE_KEEP"):
                path.unlink(missing_ok=True)
                path.write_bytes(before)
        return Counter([", ".join(outcomes)])

    def _job_of(self, path: Path) -> Path | None:
        if path.parent.name == "components":
            jobs = sorted(path.parents[1].glob("*.yml"))
            return next((job for job in jobs if path.name in job.read_text(encoding="utf-8")), None)
        return path if path.parent.name in ("evaluation", "finetune") else None

    def _validated(self, path: Path) -> str:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                validate([path], as_json=True)
            except typer.Exit as end:
                status = end.exit_code
        if len(out.getvalue()) + len(err.getvalue()) > OUTPUT_CHARACTERS:
            raise BrokenPromise(f"{len(out.getvalue())} characters of findings: {shown(out.getvalue())}")
        said = json.loads(out.getvalue())
        faults = [one for one in said["findings"] + said["notes"] if one["rule"] == FAULT]
        if faults or status not in (0, 1, 2):
            raise BrokenPromise(f"status {status}, {shown(faults, 2000)}, for {shown(_start_of(path))}")
        return ("good", "refused", "nothing to check")[status]

    def _job(self, path: Path) -> str:
        own = OwnModel.read()
        try:
            plan_job(*checked_job(path, [], own), own)
        except (JobError, InvalidFileError) as exc:
            longest = max(map(len, str(exc).splitlines()), default=0)
            if not longest or longest > MESSAGE_CHARACTERS:
                raise BrokenPromise(f"a message of {longest} characters: {shown(str(exc))}") from exc
            return "refused"
        return "good"

    def close(self) -> None:
        """Nothing is left running."""


def _start_of(path: Path) -> object:
    return path.open("rb").read(300) if path.is_file() else "no file"
