"""Turn text into masked-word test data: the command of the component prepare.

    python -m evaluation.prepare --input notes.txt --output cloze.jsonl

A text file has a sentence or paragraph a line, of which one word is masked. A table (JSON lines, CSV, TSV, parquet, a
folder or MLTable of these) has the columns of rcds/wikipedia-for-mask-filling: `texts`, with <mask> in the place of
words, and `masks`, the list of these words. Either becomes rows of
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

from tables.files import KINDS, TEXT_SUFFIX, read_lines
from tables.mltable import FILE as MLTABLE
from tables.rows import Reject, Row, TableError, is_printed, is_texts, read_cell
from tables.table import open_table
from tables.whole_file import Outputs

MASK = "[MASK]"
THEIR_MASK = "<mask>"
TEXTS, MASKS = "texts", "masks"
FORMS = ("text", "masks")

WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
"""A whole word, as `don't` and `well-known` are; of the matches, a number is none to be guessed."""

Prepared = dict[str, Any] | str
"""A row of test data, or why there is none."""


def masked(text: str, draw: random.Random) -> Prepared:
    """Mask one word of a text, any of its words with the same probability; say why where it cannot be done.

    >>> masked("Hello, world!", random.Random(17))
    {'input_string': 'Hello, [MASK]!', 'title': 'world'}
    """
    if MASK in text:
        return f"it has {MASK} already"
    words = [match for match in WORD.finditer(text) if any(map(str.isalpha, match[0]))]
    if len(words) < 2:
        return "it has less than two words"
    word = draw.choice(words)
    return {"input_string": text[: word.start()] + MASK + text[word.end() :], "title": word[0]}


def converted(text: Any, words: Any) -> Prepared:  # noqa: ANN401 - values of the user's
    """Turn a row of texts and masks into one of input_string and title; say why where it cannot be done.

    >>> converted("<mask> is big.", ["Paris"])
    {'input_string': '[MASK] is big.', 'title': 'Paris'}
    """
    words = read_cell(words, is_texts)
    if isinstance(words, str) and not is_printed(words):
        words = [words]
    if not isinstance(text, str) or not is_texts(words):
        return f"{TEXTS} is not a text, or {MASKS} not a list of words"
    if MASK in text:
        return f"it has {MASK} already"
    if not words or len(words) != text.count(THEIR_MASK):
        return f"it has not as many {THEIR_MASK} as {MASKS}"
    return {"input_string": text.replace(THEIR_MASK, MASK), "title": words[0] if len(words) == 1 else words}


def prepare(path: Path, form: str | None, seed: int) -> Iterator[Prepared]:
    """Yield a row for each that there is in a file or folder; raises TableError where it cannot be read.

    Without a `form`, files of text are told by their names.
    """
    if form == "text" or (form is None and _is_text(path)):
        draw = random.Random(seed)
        yield from (masked(line, draw) if line else "it is no UTF-8" for line in _lines(path))
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
    """Yield the lines of a file, or of a folder's files ordered by name, without blank lines.

    A line that is not UTF-8 is an empty text.
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
    """Write the rows, the first so many where there is a limit; returns how many were left out and why.

    Raises TableError where there is no row.
    """
    left_out: Counter[str] = Counter()
    good = (row for row in rows if not isinstance(row, str) or left_out.update([row]))
    written = 0
    with Outputs({"test_data": output}) as outputs:
        for row in itertools.islice(good, limit):
            outputs.write("test_data", row)
            written += 1
        if not written:
            reasons = (
                "; ".join(f"{count:,} as {reason}" for reason, count in left_out.most_common(5)) or "nothing in it"
            )
            raise TableError(f"expected rows to make test data of, found none: {reasons}")
        outputs.publish()
    left_out["written"] = written
    return left_out


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    formatter = argparse.RawDescriptionHelpFormatter
    found = argparse.ArgumentParser("python -m evaluation.prepare", description=__doc__, formatter_class=formatter)
    found.add_argument("--input", required=True, type=Path, help="a file or a folder of them")
    found.add_argument("--output", required=True, type=Path, help="where to write JSON lines")
    found.add_argument("--form", choices=FORMS, help="what is in the files; by their names where it is not said")
    found.add_argument("--seed", type=int, default=17, help="of the choice of words (17)")
    found.add_argument("--rows", type=int, help="write so many rows; all where it is not said")
    return found


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; exit status 1 and one line where there is no data to be made."""
    args = parser().parse_args(argv)
    try:
        done = write(prepare(args.input, args.form, args.seed), args.output, args.rows)
    except (TableError, OSError) as exc:
        sys.stderr.write(f"prepare: {exc}\n")
        return 1
    sys.stderr.write(f"{done.pop('written'):,} rows written, {done.total():,} left out\n")
    sys.stderr.write("".join(f"  {count:,}: {reason}\n" for reason, count in done.most_common(5)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
