"""Make questions and answers from plain text, for training while there are few real questions.

    asset questions --text notes.txt --output questions.jsonl

replaces a part of a sentence by a question word, and drops and moves some of the other words. "William was crowned at Westminster Abbey on Christmas Day, and ruled for 21 years." -> "William was crowned at
what on Christmas Day?", or "How much years on Christmas and ruled for?". This is not good English, but to answer it, a model must
find the question's words in the context and point at the words between them, which is most of the skill of finding answers.
After Lewis, Denoyer and Riedel 2019, "Unsupervised Question Answering by Cloze Translation",
https://arxiv.org/abs/1906.04980.

The rows have SQuAD's columns, for finetune/finetune-question-answering.yml; tune on real questions afterwards.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from finetune.errors import FinetuneError
from finetune.pretrain.masked_text import read_lines
from finetune.train.training_log import progress_bar
from tables.disk import Outputs

MIN_CONTEXT, MAX_CONTEXT = 45, 170
"""The number of words of a context: enough that the words alone do not give the answer away, few enough for one window."""

MIN_SENTENCE, MAX_SENTENCE = 6, 45
QUESTIONS_A_CONTEXT = 2
DROPPED = 0.15
"""The share of a question's words that are left out, so that no gap is found by comparing letters."""

NEAR = 8
"""Words at most that a question keeps on each side of the gap."""

SENTENCE_END = re.compile(r"""(?<=[.!?])["')]* +(?=["'(]*[A-Z0-9])""")
WORD = re.compile(r"\S+")
EDGE = ".,;:!?()[]\"'“”‘’"
YEAR = re.compile(r"1\d{3}|20\d\d")
NUMBER = re.compile(r"[$£€]?\d[\d,.]*(%|st|nd|rd|th|s)?")
BEFORE_A_THING = frozenset("the a an of by in for to with from".split())
COMMON = frozenset(
    "the a an of to in on at by for with from and or but that this these those it its is are was were be been as not he she "
    "they his her their which who whom what when where how there then than so such has have had do does did will would can "
    "could may might must into over under no more most".split()
)
"""Function words: they are never an answer."""


class Word(NamedTuple):
    """A word without punctuation at its edges: its text, and its position in the sentence."""

    text: str
    start: int
    end: int
    ends_clause: bool


class Gap(NamedTuple):
    """A possible answer: the words from `first` to before `last`, and the question words that fit them."""

    first: int
    last: int
    asked: tuple[str, ...]


def make_questions(lines: Iterable[str], seed: int = 17) -> Iterator[dict[str, Any]]:
    """Yield rows with SQuAD's columns `id`, `context`, `question` and `answers` from paragraphs, one a line.

    A paragraph of one sentence gives no row, because the context would be the answer's sentence alone. The same lines and
    seed give the same rows.
    """
    draw = random.Random(seed)
    number = 0
    for line in lines:
        context = _context(" ".join(line.split()), draw)
        spans = _sentences(context)
        if len(spans) < 2:
            continue
        for start, end in draw.sample(spans, min(QUESTIONS_A_CONTEXT, len(spans))):
            made = _question(context[start:end], draw)
            if made is None:
                continue
            question, at, text = made
            answers = {"text": [text], "answer_start": [start + at]}
            yield {"id": str(number), "context": context, "question": question, "answers": answers}
            number += 1


def _sentences(text: str) -> list[tuple[int, int]]:
    ends = [(match.start(), match.end()) for match in SENTENCE_END.finditer(text)]
    starts = [0, *(end for _, end in ends)]
    return list(zip(starts, [*(start for start, _ in ends), len(text)], strict=True))


def _context(text: str, draw: random.Random) -> str:
    """Return a paragraph, or whole sentences of a long paragraph; nothing if it is too short."""
    if len(text.split()) < MIN_CONTEXT:
        return ""
    spans = _sentences(text)
    first = draw.randrange(len(spans)) if len(text.split()) > MAX_CONTEXT else 0
    end = spans[first][0]
    for _, stop in spans[first:]:
        if len(text[spans[first][0] : stop].split()) > MAX_CONTEXT:
            break
        end = stop
    context = text[spans[first][0] : end]
    return context if len(context.split()) >= MIN_CONTEXT else ""


def _words(sentence: str) -> list[Word]:
    found = []
    for match in WORD.finditer(sentence):
        raw = match.group()
        text = raw.strip(EDGE)
        start = match.start() + len(raw) - len(raw.lstrip(EDGE))
        found.append(Word(text, start, start + len(text), raw[-1] in EDGE))
    return found


def _numbers_and_names(words: list[Word]) -> Iterator[Gap]:
    place = 0
    while place < len(words):
        last = place + 1
        text = words[place].text
        if NUMBER.fullmatch(text):
            yield Gap(place, last, ("when",) if YEAR.fullmatch(text) else ("how many", "how much"))
        elif text[:1].isupper() and text.lower() not in COMMON:
            while last < len(words) and not words[last - 1].ends_clause and words[last].text[:1].isupper():
                last += 1
            # A sentence begins with a capital letter, whatever its first word is.
            if place or last > 1:
                yield Gap(place, last, ("who", "what", "which"))
        place = last


def _things(words: list[Word]) -> Iterator[Gap]:
    """Yield the words after an article or a preposition, up to three."""
    for place, word in enumerate(words):
        if word.text.lower() not in BEFORE_A_THING or word.ends_clause:
            continue
        last = place + 1
        while last < min(place + 4, len(words)) and _says_something(words[last]):
            last += 1
            if words[last - 1].ends_clause:
                break
        if last > place + 1:
            yield Gap(place + 1, last, ("what", "where") if word.text.lower() == "in" else ("what",))


def _says_something(word: Word) -> bool:
    return word.text.isalpha() and word.text.lower() not in COMMON


def _question(sentence: str, draw: random.Random) -> tuple[str, int, str] | None:
    """Return a question, the start of its answer in the sentence, and the answer; None if the sentence has no answer."""
    words = _words(sentence)
    gaps = [*_numbers_and_names(words), *_things(words)] if MIN_SENTENCE <= len(words) <= MAX_SENTENCE else []
    if not gaps:
        return None
    gap = draw.choice(gaps)
    start, end = words[gap.first].start, words[gap.last - 1].end
    answer = sentence[start:end]
    sides = (
        words[max(0, gap.first - draw.randint(2, NEAR)) : gap.first],
        words[gap.last : gap.last + draw.randint(2, NEAR)],
    )
    left, right = ([word.text for word in side if word.text and draw.random() >= DROPPED] for side in sides)
    told = {word.lower() for word in (*left, *right)}
    if len(told - COMMON) < 2 or any(word.lower() in told for word in answer.split() if word.lower() not in COMMON):
        return None
    asked = [draw.choice(gap.asked)]
    order = draw.choice([[asked, right, left], [asked, left, right], [left, asked, right]])
    question = " ".join(word for part in order for word in part)
    return f"{question[0].upper()}{question[1:]}?", start, answer


def write_questions(files: list[Path], output: Path, rows: int | None, seed: int) -> int:
    """Write rows made from text files, all of them or a random `rows` of them; return how many.

    Raises:
        FinetuneError: a file is no text, there is nothing to ask, or the output cannot be written.
    """
    with progress_bar(0, "reading", "paragraph") as bar:

        def told(lines: Iterable[str]) -> Iterator[str]:
            for line in lines:
                bar.update()
                yield line

        made = list(make_questions(told(read_lines(files)), seed))
    if not made:
        raise FinetuneError(
            f"{', '.join(map(str, files))}: expected paragraphs of two or more sentences and {MIN_CONTEXT} or more words, one "
            "a line, found none; join the lines of a paragraph"
        )
    if rows is not None and rows < len(made):
        made = random.Random(seed).sample(made, rows)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with Outputs({"questions": output}) as outputs:
            for row in made:
                outputs.write("questions", row)
            outputs.publish("questions")
    except OSError as exc:
        raise FinetuneError(f"{output}: expected a file that can be written, found: {exc.strerror}") from exc
    return len(made)


def main(argv: list[str] | None = None) -> int:
    """Run from the command line; exit status 1 and one line if the text gives no question."""
    parser = argparse.ArgumentParser(
        prog="asset questions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--text", type=Path, nargs="+", required=True, metavar="FILE", help="text, a paragraph a line; .gz and .xz too")
    add("--output", type=Path, required=True, metavar="FILE", help="JSON lines")
    add("--rows", type=int, help="so many of the rows, drawn at random; default: all")
    add("--seed", type=int, default=17, help="the seed of the random choices (17)")
    args = parser.parse_args(argv)
    if args.rows is not None and args.rows < 1:
        parser.error(f"--rows: expected a whole number of 1 or more, found {args.rows}")
    try:
        count = write_questions(args.text, args.output, args.rows, args.seed)
    except FinetuneError as exc:
        sys.stderr.write(f"cloze_questions: {exc}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("cloze_questions: stopped; nothing was written\n")
        return 130
    sys.stdout.write(f"{args.output}: {count:,} rows\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
