"""The model card of a tuned model: README.md, with metadata for Hugging Face, and without a text of the data."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml

from evaluation.report.metrics_file import Metric
from evaluation.report.number_format import duration, interval, quantity
from finetune.package.compiled_check import CompiledCheck
from finetune.package.metrics_file import UNITS
from finetune.package.mlflow_files import EXAMPLES
from finetune.package.mlflow_folder import input_columns, model_name
from finetune.package.tuned_model import TunedModel, described
from finetune.prepare.prepared import PreparedFolder, Settings, read_rows

TEMPLATE = Path(__file__).with_name("model_card.md.jinja")

HISTORY_ROWS = 20
"""Evaluations that the card shows."""

LABELS_SHOWN = 100

APACHE = {
    "bert-base-cased",
    "bert-base-uncased",
    "bert-large-cased",
    "bert-large-uncased",
    "bert-base-multilingual-cased",
    "bert-base-multilingual-uncased",
    "distilbert-base-cased",
    "distilbert-base-uncased",
    "distilbert-base-multilingual-cased",
}
"""Base models that their publishers license under Apache-2.0."""


def card(
    prepared: PreparedFolder,
    settings: Settings,
    tuned: TunedModel,
    metrics: Sequence[Metric],
    check: CompiledCheck | None,
) -> str:
    """Return the text of README.md; `metrics` are the model's (finetune.package.metrics_file.of_model)."""
    environment = jinja2.Environment(keep_trailing_newline=True, undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - Markdown
    environment.filters |= {
        "cell": cell,
        "code": code,
        "dropped": _dropped,
        "quantity": quantity,
        "interval": lambda metric: interval(metric.low, metric.high, metric.unit),
    }
    config = described(prepared.model)
    columns = input_columns(settings)
    label_parts = [part for part in settings.data if prepared.file(part).is_file()]
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        front_matter=front_matter(prepared, settings, metrics),
        name=model_name(settings),
        settings=settings,
        classifier=settings.tuning.classifies,
        adapter=tuned.adapter is not None,
        architecture=_architecture(config),
        columns=columns,
        columns_given=", ".join(f"{key} {code(value)}" for key, value in settings.columns.items()),
        label_parts=label_parts,
        labels=_labels(prepared, settings, label_parts),
        training_line=_training_line(settings, tuned),
        changed=", ".join(f"{name} {code(value)}" for name, value, changed in _all_settings(settings) if changed),
        history=_history(settings, tuned),
        metrics=metrics,
        check=check,
        figure_names=list(check.transformers.figures) if check else [],
        compiled=_compiled(check) if check else [],
        example={name: [EXAMPLES[name]] for name in columns},
        positions=config.get("max_position_embeddings", 512),
        all_settings=[(name, cell(value), changed) for name, value, changed in _all_settings(settings)],
        versions=", ".join(f"{name} {version}" for name, version in sorted(tuned.training.versions.items()))
        or "unknown",
    )


def front_matter(prepared: PreparedFolder, settings: Settings, metrics: Sequence[Metric]) -> str:
    """Return the card's metadata as YAML: known facts only, so no language or license that was never stated."""
    known = license_of(prepared.model, settings.base.name)
    content = {
        **({"license": known} if known else {}),
        "library_name": "transformers",
        "pipeline_tag": settings.task,
        "base_model": settings.base.name,
        "tags": ["generated_from_trainer", "mlflow", settings.task],
        "metrics": [metric.name for metric in metrics if metric.name != "loss"],
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def license_of(base: Path, name: str) -> str | None:
    """Return the license that the base model's card names, or the license of a known base model; else None."""
    file = base / "README.md"
    if file.is_file():
        _, _, rest = file.read_text(encoding="utf-8", errors="replace").partition("---\n")
        try:
            found = yaml.safe_load(rest.partition("\n---")[0])
        except yaml.YAMLError:
            found = None
        if isinstance(found, dict) and isinstance(found.get("license"), str):
            return found["license"]
    return "apache-2.0" if name.rsplit("/", 1)[-1] in APACHE else None


def cell(text: str) -> str:
    r"""Return a text as a cell of a Markdown table: on one line, with markup escaped.

    >>> cell("good|*bad*")
    'good\\|\\*bad\\*'
    """
    line = " ".join(str(text).split())
    return "".join(f"\\{character}" if character in "\\`*_[]<>|#" else character for character in line)


def code(text: object) -> str:
    """Return a text between backticks, in which a table's bar is escaped and a backtick is a quotation mark."""
    return f"`{' '.join(str(text).split()).replace('`', chr(39)).replace('|', chr(92) + '|')}`"


def _dropped(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{cell(reason)} {rows:,}" for reason, rows in dropped.items()) or "none"


def _architecture(config: Mapping[str, Any]) -> str:
    layers, width = (
        config.get(key) or config.get(other)
        for key, other in (("num_hidden_layers", "n_layers"), ("hidden_size", "dim"))
    )
    return f"{config.get('model_type', 'bert')}: {layers} layers, {width} wide, {config.get('vocab_size')} tokens"


def _labels(prepared: PreparedFolder, settings: Settings, parts: Sequence[Any]) -> list[tuple[str, list[str]]]:
    """Return each label with how often each part has it; of very many, the first."""
    if not settings.tuning.classifies:
        return []
    counts = [Counter(str(row["label"]) for row in read_rows(prepared, settings, part)) for part in parts]
    lines = [(label, [f"{found[label]:,}" for found in counts]) for label in settings.labels[:LABELS_SHOWN]]
    rest = settings.labels[LABELS_SHOWN:]
    if rest:
        lines.append((f"{len(rest)} others", [f"{sum(found[label] for label in rest):,}" for found in counts]))
    return lines


def _all_settings(settings: Settings) -> list[tuple[str, str, bool]]:
    """Return each setting with its value, as the component takes it, and if the value differs from the default."""
    found: list[tuple[str, str, bool]] = []
    for part in (settings.training, settings.features):
        for name, field in type(part).model_fields.items():
            value = getattr(part, name)
            shown = str(value).lower() if isinstance(value, bool) else str(value)
            found.append((name, shown, value != field.default))
    return found


def _training_line(settings: Settings, tuned: TunedModel) -> str:
    training = tuned.training
    processes = "1 process" if training.processes == 1 else f"{training.processes} processes"
    where = f"on {training.device or 'an unknown device'}, {processes}, in {training.precision or 'fp32'}"
    speed = (
        f", {training.tokens_per_second:,.0f} tokens a second without the padding" if training.tokens_per_second else ""
    )
    best = f"The best checkpoint by {settings.training.metric_for_best_model} is that of step {training.best.step:,}"
    return f"{duration(training.seconds)} {where}{speed}. {best} (epoch {training.best.epoch:g})."


def _history(settings: Settings, tuned: TunedModel) -> dict[str, Any]:
    """Return the evaluations of the Trainer's log, at most HISTORY_ROWS, each with the training loss before it."""
    evaluations, loss = [], math.nan
    for entry in tuned.training.history:
        loss = entry["loss"] if isinstance(entry.get("loss"), int | float) else loss
        if "eval_loss" in entry:
            evaluations.append({**entry, "training loss": loss})
    wanted = [name for name in settings.tuning.metrics if any(f"eval_{name}" in entry for entry in evaluations)]
    step = -(-len(evaluations) // HISTORY_ROWS) or 1
    shown = evaluations[step - 1 :: step]
    rows = [
        [f"{entry.get('step', 0):,}", f"{entry.get('epoch', 0):.2f}", quantity(entry["training loss"], "number")]
        + [quantity(entry.get(f"eval_{name}"), "number") for name in wanted]
        for entry in shown
    ]
    return {"names": ["training loss", *wanted], "rows": rows, "left_out": len(evaluations) - len(shown)}


def _compiled(check: CompiledCheck) -> list[list[str]]:
    lines = {"transformers, fp32": (check.transformers, 1.0)}
    lines |= {f"compiled, {name}": (found, check.speedup(name)) for name, found in check.compiled.items()}
    return [
        [
            name,
            *(quantity(figure.value, UNITS[key]) for key, figure in found.figures.items()),
            quantity(found.milliseconds, "ms"),
            f"{times:.1f} ×",
        ]
        for name, (found, times) in lines.items()
    ]
