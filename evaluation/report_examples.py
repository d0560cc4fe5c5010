"""How an example is shown: its texts, what was expected, and which of the candidates is that."""

from __future__ import annotations

import re

from evaluation.metrics_file import Example

LONG = 420
"""An input of more letters than this is shown around what is asked, and whole when its reader wants it."""


def answer(found: object, task: str) -> str:
    """Write an expected or predicted answer: a text, a text a mask, or any of several texts.

    "capital" -> "capital"; ["New", "York"] -> "New · York"; a question's {"text": ["Rome", "Rome"]} -> "Rome"
    """
    if isinstance(found, dict) and isinstance(found.get("text"), list):
        found = found["text"]
    if isinstance(found, list):
        texts = [str(text) for text in found]
        found = " · ".join(dict.fromkeys(texts) if task == "question-answering" else texts)
    return str(found) if str(found).strip() else "(nothing)"


def expected_words(example: Example, mask: int) -> list[str]:
    """Return the words that are right for a mask: with several masks each has its own, else any of them will do."""
    found = example.expected
    if isinstance(found, dict):
        found = found.get("text")
    if not isinstance(found, list):
        return [str(found)]
    several = len(example.top) > 1
    return [str(found[mask])] if several and mask < len(found) else [str(word) for word in found]


def is_right(example: Example, mask: int, candidate: int, best: bool) -> bool:
    """Tell whether a candidate, counted from 0, is right: as the evaluation says, else where it is an expected word.

    Of one of the best examples what was predicted is right too: an evaluation may take "the Nile" for "Nile".
    """
    if example.right:
        return example.right[mask][candidate]
    words = expected_words(example, mask) + ([str(example.predicted)] if best else [])
    return example.top[mask][candidate][0] in words


def pieces(text: str) -> list[str]:
    """Divide a text at its masks, which stay: "a [MASK] b" gives ["a ", "[MASK]", " b"]."""
    return re.split(r"(\[MASK\])", text)


def inputs(example: Example, task: str) -> list[tuple[str, str]]:
    r"""Return the texts of an example and what each is; a question stands before its context, on a line of its own.

    "Which team?\nDenver won." of a question-answering row -> [("question", "Which team?"), ("context", "Denver won.")]
    """
    if isinstance(example.input, dict):
        return [(str(name), str(text)) for name, text in example.input.items()]
    question, line, context = str(example.input).partition("\n")
    if task == "question-answering" and line:
        return [("question", question), ("context", context)]
    return [("", str(example.input))]


def excerpt(text: str, example: Example) -> str:
    """Return a long text's part around its mask or the expected answer, and a short text as it is."""
    if len(text) <= LONG:
        return text
    masks = [found.start() for found in re.finditer(r"\[MASK\]", text)]
    answers = [text.find(word) for word in expected_words(example, 0) if word and word in text]
    place = masks[min(len(masks), example.mask or 1) - 1] if masks else min(answers, default=0)
    start = max(0, min(place - LONG // 2, len(text) - LONG))
    cut = text[start : start + LONG]
    if start:
        cut = "… " + cut.split(" ", 1)[-1]
    return cut if start + LONG >= len(text) else cut.rsplit(" ", 1)[0] + " …"
