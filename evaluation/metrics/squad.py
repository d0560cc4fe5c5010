"""Exact match and F1 of an answer, computed as in the official script of SQuAD v1.1 (evaluate-v1.1.py).

P. Rajpurkar, J. Zhang, K. Lopyrev, P. Liang (2016), "SQuAD: 100,000+ Questions for Machine Comprehension of Text",
https://aclanthology.org/D16-1264, section 6.1.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalized(answer: str) -> str:
    """Lower the case, remove ASCII punctuation and English articles, and reduce white space to single spaces.

    >>> normalized("The  Panthers' defense.")
    'panthers defense'
    """
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """Return 1 if the prediction equals one of the answers after normalization, else 0.

    For a question without an answer, which SQuAD v1.1 does not have, an empty prediction is right.
    """
    return float(normalized(prediction) in [normalized(answer) for answer in answers or [""]])


def f1(prediction: str, answers: Sequence[str]) -> float:
    """Return the best F1 with any of the answers, from the words that both share after normalization.

    >>> f1("the cat sat", ["cat"])
    0.6666666666666666
    """
    if not answers:
        return exact_match(prediction, answers)
    words = normalized(prediction).split()
    return max(_overlap(words, normalized(answer).split()) for answer in answers)


def _overlap(predicted: Sequence[str], expected: Sequence[str]) -> float:
    shared = sum((Counter(predicted) & Counter(expected)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(expected)
    return 2 * precision * recall / (precision + recall)
