"""Data files of every kind that is read, damaged, for every command that reads them: evaluation, fine-tuning, batch scoring.

Each command ends with status 0, broken rows counted and told, or with status 1 and a message.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import random
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

from deployment.batch_file import FileScorer
from deployment.batch_options import Options
from evaluation import compute_metrics, model_prediction
from evaluation import prepare as evaluation_prepare
from finetune.prepare import __main__ as finetune_prepare
from serving.tasks import Task
from tests.torture.attack import BrokenPromise, drawing, shown
from tests.torture.checkpoints import ARCHITECTURES, write_checkpoint
from tests.torture.data_content import MLTABLES, ROWS, WRITERS, rows_of
from tests.torture.mutations import mutated

OUTPUT_CHARACTERS = 40_000


class DataFiles:
    """Writes one file a case and gives it to one command."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._seed = folder, seed
        logging.basicConfig(level=logging.ERROR)
        os.environ.update(BERT_SERVING_PRECISION="fp32", BERT_SERVING_THREADS="1", MLFLOW_TRACKING_URI="")
        os.environ.pop("MLFLOW_TRACKING_URI")
        self._models = {task: write_checkpoint(folder / "models" / task, task) for task in ARCHITECTURES}
        self._scorers = {task: self._scorer(task) for task in ARCHITECTURES}
        self._commands = (self._predict, self._batch, self._finetune, self._metrics, self._prepare)

    def _scorer(self, task: Task) -> FileScorer:
        os.environ["AZUREML_MODEL_DIR"] = str(self._models[task])
        return FileScorer.load(self._folder, Options(self._folder / "scored"))

    def watched(self) -> int:
        """Return this process: the commands run in it."""
        return os.getpid()

    def case(self, number: int) -> Counter[str]:
        """Write one file and give it to one command."""
        draw = drawing("data", self._seed, number)
        task: Task = draw.choice(list(ROWS))
        place = self._folder / f"case-{number}"
        place.mkdir()
        command = self._commands[number % len(self._commands)]
        path = self._written(place, task, draw)
        out, err = io.StringIO(), io.StringIO()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                status = command(path, task, place / "out", draw)
            said = out.getvalue() + err.getvalue()
            if "Traceback" in said or len(said) > OUTPUT_CHARACTERS or (status and not said.strip()):
                raise BrokenPromise(f"status {status}, and it said: {shown(said, 2000)}")
        except BaseException as exc:
            exc.add_note(
                f"{command.__name__} of a {task} file {path.name}: {shown(path.open('rb').read(300)) if path.is_file() else path}"
            )
            raise
        finally:
            if not os.environ.get("TORTURE_KEEP"):
                shutil.rmtree(place, ignore_errors=True)
        return Counter(
            [
                f"{command.__name__[1:]} {'' if status == 0 else 'refused ' if status == 1 else status}{path.suffix or 'folder'}".strip()
            ]
        )

    def _written(self, place: Path, task: Task, draw: random.Random) -> Path:
        suffix = draw.choice(list(WRITERS))
        folder = place / "in"
        folder.mkdir()
        path = folder / f"{draw.choice(['data', 'dåta', 'a b'])}{suffix}"
        content = WRITERS[suffix](rows_of(task, draw), draw)
        kind = draw.random()
        if kind < 0.25:
            content = mutated(content, draw)
        elif kind < 0.3:
            content = content.decode("utf-8", "replace").encode(draw.choice(["utf-16", "utf-32", "utf-8-sig"]))
        path.write_bytes(content)
        if kind > 0.97:
            os.truncate(path, draw.choice([1, 50]) << 20)
        if kind > 0.9 and suffix != ".txt":
            reader = {".csv": "read_delimited", ".tsv": "read_delimited", ".parquet": "read_parquet"}.get(
                suffix, "read_json_lines"
            )
            (folder / "MLTable").write_text(draw.choice(MLTABLES).replace("NAME", path.name).replace("READER", reader))
            return folder
        if kind > 0.88:
            path.unlink()
            path.symlink_to(draw.choice([path, "/dev/null", "missing", "/proc/self/mem"]))
        return draw.choice([path, path, path, folder])

    def _predict(self, path: Path, task: Task, out: Path, draw: random.Random) -> int:
        arguments = [
            "--task",
            task,
            "--test-data",
            str(path),
            "--model",
            str(self._models[task]),
            "--precision",
            "fp32",
        ]
        for name in model_prediction.OUTPUTS:
            arguments += [f"--{name.replace('_', '-')}", str(out / f"{name}.jsonl")]
        return model_prediction.main(arguments)

    def _batch(self, path: Path, task: Task, out: Path, draw: random.Random) -> int:
        scorer = self._scorers[task]
        scorer._options = replace(scorer._options, output=out)
        failed = 0
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            try:
                summary = scorer.score(file)
            except OSError as exc:  # the documented end where a file is none; the batch runtime counts it
                print(exc)  # noqa: T201
                return 1
            failed += summary.error is not None
            print(summary.error)  # noqa: T201
        return 1 if failed else 0

    def _finetune(self, path: Path, task: Task, out: Path, draw: random.Random) -> int:
        if task == "fill-mask":
            task = "text-classification"
        columns = {
            "text-classification": {"sentence1_key": "text", "label_key": "label"},
            "question-answering": {"question_key": "question", "context_key": "context", "answers_key": "answers"}
            | {"answer_start_key": "answer_start", "answer_text_key": "text"},
        }[task]
        given = {"task": task, "pytorch_model_path": str(self._models[task]), "train_file_path": str(path)}
        given |= {
            **columns,
            "prepared": str(out),
            "ignore_mismatched_sizes": "true",
            "max_seq_length": "32",
        }
        given |= {"doc_stride": "8"} if task == "question-answering" else {}
        arguments = [word for name, value in given.items() for word in (f"--{name}", value)]
        return finetune_prepare.main(arguments)

    def _metrics(self, path: Path, task: Task, out: Path, draw: random.Random) -> int:
        other = path if draw.random() < 0.5 else path.parent
        arguments = ["--task", task, "--ground-truth", str(path), "--prediction", str(other), "--output", str(out)]
        arguments += ["--prediction-probabilities", str(path)] if draw.random() < 0.5 else []
        arguments += ["--rejects", str(path), "--performance-metadata", str(path)] if draw.random() < 0.3 else []
        return compute_metrics.main(arguments)

    def _prepare(self, path: Path, task: Task, out: Path, draw: random.Random) -> int:
        form = draw.choice([[], ["--form", "text"], ["--form", "masks"]])
        return evaluation_prepare.main(["--input", str(path), "--output", str(out / "cloze.jsonl"), *form])

    def close(self) -> None:
        """Nothing is left running."""
