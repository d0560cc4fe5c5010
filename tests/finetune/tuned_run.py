"""What the steps before packaging leave of a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from finetune.package.__main__ import main
from finetune.prepare.prepared import Base, DataPart, PreparedFolder, Settings
from finetune.settings import FeatureSettings, TrainingSettings


@dataclass(frozen=True)
class TunedRun:
    """The folders that the steps before packaging leave, and the command that packages them."""

    prepared: Path
    tuned: Path
    settings: Settings

    def package(self, output: Path) -> int:
        """Run the command; the model goes to output/model, metrics.json to output/metrics."""
        return main(
            [
                *("--prepared", str(self.prepared), "--pytorch-model-folder", str(self.tuned)),
                *("--mlflow-model-folder", str(output / "model"), "--metrics", str(output / "metrics")),
            ]
        )

    def change(self, **training: object) -> TunedRun:
        """Set settings of training."""
        changed = self.settings.model_copy(update={"training": self.settings.training.model_copy(update=training)})
        PreparedFolder(self.prepared).write_settings(changed)
        return replace(self, settings=changed)

    def write_rows(self, part: str, rows: list[dict[str, object]]) -> None:
        """Write a part of the data."""
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (self.prepared / f"{part}.jsonl").write_text(text, encoding="utf-8")


def training_of(task: str) -> dict[str, object]:
    """Return a training.json."""
    names = ("f1", "exact") if task == "question-answering" else ("accuracy", "f1_macro", "mcc")
    first, best = ({"loss": loss, **dict.fromkeys(names, share)} for loss, share in ((0.7, 0.5), (0.5, 0.75)))
    log: list[dict[str, float]] = []
    for epoch, metrics in enumerate((first, best), 1):
        place = {"epoch": epoch, "step": 4 * epoch}
        log += [{"loss": 0.9 - 0.1 * epoch, **place}, {**{f"eval_{name}": metrics[name] for name in metrics}, **place}]
    return {
        "best": {"step": 8, "epoch": 2.0, "metrics": best},
        "history": log,
        "seconds": 12.5,
        "tokens_per_second": 3456.7,
        "device": "cpu",
        "precision": "fp32",
        "processes": 2,
        "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
    }


def row_of(task: str, line: str, index: int, labels: list[str], pairs: bool) -> dict[str, object]:
    """Return a prepared row about a line."""
    if task == "question-answering":
        answer = line.split()[1]
        answers = {"text": [answer], "answer_start": [line.index(answer)]}
        return {"id": str(index), "question": "Who sat?", "context": line, "answers": answers}
    pair = {"text_pair": line[:30]} if pairs else {}
    return {"text": line, **pair, "label": labels[index % len(labels)]}


@pytest.fixture(scope="session")
def make_run(lines: list[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TunedRun]:
    """Make the folders of a run, of a tuned checkpoint and (other than it) a base model."""

    def make(checkpoint: Path, base: Path | None = None, pairs: bool = False, rows: int = 24) -> TunedRun:
        folder = tmp_path_factory.mktemp("run")
        prepared, tuned = folder / "prepared", folder / "pytorch_model_folder"
        prepared.mkdir()
        hidden = shutil.ignore_patterns(".compiled")
        shutil.copytree(base or checkpoint, prepared / "model", ignore=hidden)
        shutil.copytree(checkpoint, tuned, ignore=hidden)
        config = json.loads((checkpoint / "config.json").read_bytes())
        reader = "QuestionAnswering" in config["architectures"][0]
        task = "question-answering" if reader else "text-classification"
        (tuned / "training.json").write_text(json.dumps(training_of(task)), encoding="utf-8")
        # What transformers leaves out of a config.json with two labels are these.
        named = config.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"})
        labels = [] if reader else [named[str(index)] for index in range(len(named))]
        keys = {"question_key": "q"} if reader else {"sentence1_key": "review", "label_key": "stars"}
        data = {
            part: DataPart(source=f"{part}.csv", rows=rows, sha256="ab" * 32, dropped={"empty_text": 3})
            for part in ("train", "validation")
        }
        settings = Settings(
            task=task,
            columns={**keys, **({"sentence2_key": "title"} if pairs else {})},
            features=FeatureSettings(),
            training=TrainingSettings(num_train_epochs=2),
            base=Base(name="example/tiny-bert", source="model.tar", sha256="cd" * 32),
            data=data,
            labels=labels,
        )
        run = TunedRun(prepared, tuned, settings)
        PreparedFolder(prepared).write_settings(settings)
        for part, first in (("train", 0), ("validation", 300)):
            found = enumerate(lines[first : first + rows])
            run.write_rows(part, [row_of(task, line, index, labels, pairs) for index, line in found])
        return run

    return make
