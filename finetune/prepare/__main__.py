"""Check the settings and the data of a fine-tuning run, fetch its base model, and write what training starts from.

    python -m finetune.prepare --task text-classification --prepared prepared --mlflow_model_path model/embedded \
        --train_file_path train.jsonl --sentence1_key text --label_key label

finetune.prepare.prepared describes the folder that is written. Mistakes that would stop the training later are refused
here: bad settings and missing columns before anything heavy is imported, bad rows before a whole model is fetched.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from finetune.errors import FinetuneError
from finetune.prepare.data import LISTED, DataWriter, Source, described, open_data
from finetune.prepare.deepspeed import check_deepspeed
from finetune.prepare.examples import ReadPart
from finetune.prepare.options import PARTS, Options, read_options
from finetune.prepare.prepared import Base, DataPart, PreparedFolder, Settings
from finetune.prepare.setting_checks import check_settings, check_steps, rows_a_step
from finetune.settings import Part
from tables.disk import write_whole

if TYPE_CHECKING:
    from finetune.prepare.base_model import BaseModel


def prepare(options: Options) -> Settings:
    """Write the folder that training reads; raises FinetuneError if the run makes no sense or cannot be trained."""
    notes = check_settings(options)
    _check_apart(options)
    sources = open_data(options)
    from finetune.prepare.base_model import BaseModel  # numpy and tokenizers: for settings that are right

    base = BaseModel.find(options.base)
    _check_positions(options, base.config.max_positions)
    folder = PreparedFolder(options.prepared)
    with _emptied(folder):
        parts = _write_data(options, base, folder, sources)
        labels = options.task.labels(parts["train"].groups)
        notes += _check_run(options, parts)
        weights = base.write_weights(folder.model)
        _check_head(options, folder, labels)
        if options.deepspeed is not None and options.training.apply_deepspeed:
            _write_deepspeed(options.deepspeed, options, folder)
        settings = _settings(options, weights, parts, labels)
        folder.write_settings(settings)
    _report(settings, parts, options, notes)
    return settings


def _check_positions(options: Options, positions: int) -> None:
    """Raise FinetuneError for rows that are longer than the model's positions."""
    length = options.features.max_seq_length
    wrong = []
    if length > positions:
        wrong = [f"max_seq_length: expected at most the model's {positions} positions, found {length}; give -1 for all"]
    elif length == -1:
        wrong = [*options.task.check_length(options.features, positions)]
    if wrong:
        raise FinetuneError("; ".join(wrong))


def _write_data(
    options: Options, base: BaseModel, folder: PreparedFolder, sources: Mapping[Part, Source]
) -> dict[Part, ReadPart]:
    """Write the tokenizer, and the rows that are short enough for the model."""
    tokenizer = base.write_tokenizer(folder.model)
    length = options.features.max_seq_length
    longest = base.config.max_positions if length == -1 else length
    return DataWriter(options, options.task.fit_test(options.features, longest, tokenizer)).write(sources)


@contextmanager
def _emptied(folder: PreparedFolder) -> Iterator[None]:
    """Make the folder, without the files of an earlier run; if this run fails, there is no settings.json."""
    marker = folder.path / ".preparing"
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        ours = marker.exists() or (folder.path / "settings.json").is_file()
        names = sorted(path.name for path in folder.path.iterdir())
        if names and not ours:
            raise FinetuneError(
                f"prepared: expected an empty folder, or the folder of an earlier run, found {', '.join(names[:5])} in "
                f"{folder.path}; name another"
            )
        marker.touch()
        for name in ("settings.json", "deepspeed.json", *(f"{name}.jsonl" for name in (*PARTS, "dropped"))):
            (folder.path / name).unlink(missing_ok=True)
        shutil.rmtree(folder.model, ignore_errors=True)
        folder.model.mkdir()
        yield
        marker.unlink()
    except OSError as exc:
        place = Path(exc.filename or folder.path)
        ours = place.is_relative_to(folder.path) or folder.path.is_relative_to(place)
        expected = "a folder that can be written to" if ours else "a file that can be read"
        raise FinetuneError(f"{place}: expected {expected}, found: {exc.strerror}") from exc


def _check_apart(options: Options) -> None:
    """Raise FinetuneError if an input lies in the folder that is emptied first."""
    given = {**options.base, **options.data, **({"deepspeed": str(options.deepspeed)} if options.deepspeed else {})}
    given.pop("huggingface_id", None)
    for name, place in given.items():
        try:
            inside = Path(place).resolve().is_relative_to(options.prepared.resolve())
        except RuntimeError as exc:  # pathlib's error for links that lead to themselves
            raise FinetuneError(f"{name}: {place}: expected a file, found links that lead in a circle") from exc
        if inside:
            raise FinetuneError(
                f"prepared: expected a folder without the run's own inputs, found {name} in it; name another"
            )


def _check_run(options: Options, parts: Mapping[Part, ReadPart]) -> list[str]:
    """Check the settings that depend on the number of rows; returns notes. Raises FinetuneError."""
    notes = []
    if options.task.one_example_a_row:
        wrong, notes = check_steps(options, len(parts["train"].groups))
        if wrong:
            raise FinetuneError("; ".join(wrong))
    for part, read in parts.items():
        if read.duplicates:
            duplicates = f"{read.duplicates:,} of {len(read.groups):,} rows of {part} are in train too, by their text"
            notes.append(f"{duplicates}: its metrics will look better than they are")
        if read.repaired:
            notes.append(f"{read.repaired:,} rows of {part} had a wrong answer_start; it is repaired")
    if "validation" not in {name.partition("_")[0] for name in options.data}:
        aside = f"{len(parts['validation'].groups):,} rows of train are set aside, 10 % {options.task.split_unit}, by the seed"
        notes.append(f"no validation data was given: {aside}")
    return notes


def _check_head(options: Options, folder: PreparedFolder, labels: list[str]) -> None:
    """Raise FinetuneError if the base model's classifier has another size and may not be started anew."""
    from finetune.checkpoint_files import head_rows

    rows = head_rows(folder.model / "model.safetensors")
    if labels and rows not in (None, len(labels)) and not options.training.ignore_mismatched_sizes:
        raise FinetuneError(
            f"ignore_mismatched_sizes: expected a base model of {len(labels)} labels, or 'true', found one of {rows} and "
            "'false'; set it to 'true' to start the head anew"
        )


def _write_deepspeed(file: Path, options: Options, folder: PreparedFolder) -> None:
    config = check_deepspeed(file, options.training).config
    write_whole(folder.path / "deepspeed.json", json.dumps(config, indent=2) + "\n")


def _settings(options: Options, base: Base, parts: Mapping[Part, ReadPart], labels: list[str]) -> Settings:
    return Settings(
        task=options.task.name,
        columns=options.columns,
        features=options.features,
        training=options.training,
        base=base,
        data={
            part: DataPart(
                source=read.source,
                rows=len(read.groups),
                sha256=read.sha256,
                dropped=dict(sorted(read.dropped.items())),
            )
            for part, read in parts.items()
        },
        labels=labels,
    )


def _report(settings: Settings, parts: Mapping[Part, ReadPart], options: Options, notes: list[str]) -> None:
    """Print the parts and the labels; notes and rows that were left out go to stderr."""
    for note in notes:
        sys.stderr.write(f"prepare: note: {note}\n")
    for part, read in parts.items():
        for reject in read.rejects[:LISTED]:
            sys.stderr.write(f"prepare: {part}: left out {described(reject)}\n")
        if read.dropped.total() > LISTED:
            sys.stderr.write(f"prepare: {part}: all {read.dropped.total():,} rows left out are in dropped.jsonl\n")
    sys.stdout.write("\n".join(_table(settings, parts, options)) + "\n")


def _table(settings: Settings, parts: Mapping[Part, ReadPart], options: Options) -> Iterator[str]:
    rows = [("part", "rows", "left out", "from")]
    for part, data in settings.data.items():
        out = ", ".join(f"{count:,} {code}" for code, count in data.dropped.items()) or "0"
        rows.append((part, f"{data.rows:,}", out, data.source))
    yield from aligned(rows)
    yield ""
    if settings.labels:
        counts = {part: Counter(read.groups) for part, read in parts.items()}
        shown = settings.labels[:50]
        yield from aligned(
            [("label", *counts), *((label, *(f"{c[label]:,}" for c in counts.values())) for label in shown)]
        )
        if len(settings.labels) > len(shown):
            yield f"… and {len(settings.labels) - len(shown):,} labels more"
        yield ""
    yield f"base model: {settings.base.name}, from {settings.base.source}, sha256 {settings.base.sha256[:12]}…"
    training = settings.training
    length = f"{training.max_steps} steps" if training.max_steps > 0 else f"{training.num_train_epochs} epochs"
    yield f"training: {length}, {rows_a_step(options)} rows a step on one machine"
    yield f"prepared: {options.prepared}"


def aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Yield lines whose columns stand under each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; returns status 1, with one line on stderr, if the run would fail."""
    try:
        prepare(read_options(argv))
    except FinetuneError as exc:
        sys.stderr.write(f"prepare: {' '.join(str(exc).splitlines())}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("prepare: stopped; the folder is not complete, run the command again\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
