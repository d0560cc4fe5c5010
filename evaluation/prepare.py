"""Turn text into masked-word test data: the command of the component prepare.

    python -m evaluation.prepare --input notes.txt --output cloze.jsonl

Each line of a text file is a sentence or a paragraph, and one of its words is masked. A table (JSON lines, CSV, TSV,
parquet, a folder or an MLTable of these) has the columns of rcds/wikipedia-for-mask-filling: `texts`, with <mask> in
place of words, and `masks`, the list of these words. Both become rows such as
{"input_string": "Paris is the [MASK] of France.", "title": "capital"}; with several masks, title is a list.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from evaluation.command import Arguments, make_parser, positive, run_command
from tables.disk import Outputs
from tables.files import KINDS, TEXT_SUFFIX, read_lines
from tables.mltable import FILE as MLTABLE
from tables.rows import Reject, Row, TableError, is_printed, is_texts, read_cell
from tables.table import open_table

MASK = "[MASK]"
THEIR_MASK = "<mask>"
TEXTS, MASKS = "texts", "masks"
FORMS = ("text", "masks")

WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
"""A whole word, such as `don't` and `well-known`, or a number, which is never masked."""

Prepared = dict[str, Any] | str
"""A row of test data, or the reason why there is no row."""


def masked(text: str, draw: random.Random) -> Prepared:
    """Mask a word of a text, each with the same probability, or return the reason why the text has no row.

    >>> masked("Hello, world!", random.Random(17))
    {'input_string': 'Hello, [MASK]!', 'title': 'world'}
    """
    if MASK in text:
        return f"the text already has {MASK}"
    words = [match for match in WORD.finditer(text) if any(map(str.isalpha, match[0]))]
    if len(words) < 2:
        return "the text has fewer than two words"
    word = draw.choice(words)
    return {"input_string": text[: word.start()] + MASK + text[word.end() :], "title": word[0]}


def converted(text: Any, words: Any) -> Prepared:  # noqa: ANN401 - values of the user's
    """Turn texts and masks into input_string and title, or return the reason why this cannot be done.

    >>> converted("<mask> is big.", ["Paris"])
    {'input_string': '[MASK] is big.', 'title': 'Paris'}
    """
    words = read_cell(words, is_texts)
    if isinstance(words, str) and not is_printed(words):
        words = [words]
    if not isinstance(text, str) or not is_texts(words):
        return f"{TEXTS} is not a text, or {MASKS} is not a list of words"
    if MASK in text:
        return f"the text already has {MASK}"
    if not words or len(words) != text.count(THEIR_MASK):
        return f"the number of {THEIR_MASK} differs from the number of words in {MASKS}"
    return {"input_string": text.replace(THEIR_MASK, MASK), "title": words[0] if len(words) == 1 else words}


def prepare(path: Path, form: str | None, seed: int) -> Iterator[Prepared]:
    """Yield a row, or a reason, for each text of a file or a folder; raises TableError if it cannot be read.

    Without a `form`, the names of the files decide.
    """
    if form == "text" or (form is None and _is_text(path)):
        draw = random.Random(seed)
        yield from (masked(line, draw) if line else "the line is not UTF-8" for line in _lines(path))
        return
    for row in open_table(path).rows([TEXTS, MASKS]):
        yield _read(row)


def _read(row: Row | Reject) -> Prepared:
    return row.message if isinstance(row, Reject) else converted(row.values[TEXTS], row.values[MASKS])


def _is_text(path: Path) -> bool:
    files = [path] if path.is_file() else [file for file in path.glob("*") if file.is_file()]
    return any(file.suffix.lower() == TEXT_SUFFIX for file in files) and not any(
        file.suffix.lower() in KINDS or file.name == MLTABLE for file in files
    )


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file, or of a folder's files sorted by name, without blank lines.

    A line that is not UTF-8 becomes an empty text.
    """
    files = [path] if path.is_file() else sorted(file for file in path.glob(f"*{TEXT_SUFFIX}") if file.is_file())
    if not files:
        raise TableError(f"{path}: expected a file of text or a folder of {TEXT_SUFFIX} files, found none; name one")
    for file in files:
        for row in read_lines(file, TEXTS):
            text = "" if isinstance(row, Reject) else row.values[TEXTS].strip()
            if text or isinstance(row, Reject):
                yield text


def write(rows: Iterable[Prepared], output: Path, limit: int | None = None) -> Counter[str]:
    """Write the rows, at most `limit`; returns how many were written, and how many were left out for each reason.

    Raises TableError if there is no row.
    """
    left_out: Counter[str] = Counter()
    good = (row for row in rows if not isinstance(row, str) or left_out.update([row]))
    written = 0
    with Outputs({"test_data": output}) as outputs:
        for row in itertools.islice(good, limit):
            outputs.write("test_data", row)
            written += 1
        if not written:
            reasons = "; ".join(f"{count:,} because {reason}" for reason, count in left_out.most_common(5))
            raise TableError(f"expected rows to make test data of, found none: {reasons or 'the input is empty'}")
        outputs.publish()
    left_out["written"] = written
    return left_out


def run(args: Arguments) -> None:
    """Make the test data, and print how many rows were written and left out."""
    counts = write(prepare(args.input, args.form, args.seed), args.output, args.rows)
    sys.stderr.write(f"{counts.pop('written'):,} rows written, {counts.total():,} left out\n")
    sys.stderr.write("".join(f"  {count:,}: {reason}\n" for reason, count in counts.most_common(5)))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = make_parser("evaluation.prepare", __doc__)
    options.add_argument("--input", required=True, type=Path, help="a file, or a folder of files")
    options.add_argument("--output", required=True, type=Path, help="where to write JSON lines")
    options.add_argument("--form", choices=FORMS, help="the kind of the files; by default their names decide")
    options.add_argument("--seed", type=int, default=17, help="the seed of the choice of words (17)")
    options.add_argument("--rows", type=positive, help="write at most this many rows (all)")
    return options


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    return run_command("prepare", run, parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
