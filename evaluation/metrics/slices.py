"""Slices: groups of rows that get figures of their own. Each kind of slice puts every row into one band."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LANGUAGE = "en"
"""The language of the word frequencies."""


@dataclass(frozen=True)
class Bands:
    """A kind of slice, such as "sentence length", and the names of its bands in the order of the report."""

    by: str
    names: Sequence[str]

    def split(self, bands: npt.NDArray[np.integer]) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
        """Yield the name and the rows of each band that has rows; `bands` has the band of each row."""
        for index, name in enumerate(self.names):
            inside = bands == index
            if inside.any():
                yield name, inside


def _lengths(by: str, *most: int) -> Bands:
    """Make bands of whole numbers; (10, 20) are: up to 10, 11 to 20, more than 20."""
    ranges = [
        f"{low + 1} to {high}" if low + 1 < high else f"{high}" for low, high in zip(most, most[1:], strict=False)
    ]
    return Bands(by, [f"up to {most[0]}", *ranges, f"more than {most[-1]}"])


WORD_FREQUENCY = Bands(
    "word frequency",
    [
        "very common (Zipf 6 and more)",
        "common (Zipf 5 to 6)",
        "less common (Zipf 4 to 5)",
        "rare (below Zipf 4)",
        "no word (signs only)",
    ],
)
RARE = 3
"""The index of the band of rare words."""
SENTENCE_WORDS = (10, 20, 30)
SENTENCE_LENGTH = _lengths("sentence length in words", *SENTENCE_WORDS)
MASK_POSITION = Bands("position of the mask", ["first third", "middle third", "last third"])
TEXT_WORDS = (10, 25, 50)
TEXT_LENGTH = _lengths("text length in words", *TEXT_WORDS)
CONTEXT_WORDS = (50, 100, 200)
CONTEXT_LENGTH = _lengths("context length in words", *CONTEXT_WORDS)
ANSWER_WORDS = (1, 3, 6)
ANSWER_LENGTH = _lengths("answer length in words", *ANSWER_WORDS)


def length_band(words: int, most: Sequence[int]) -> int:
    """Return the band of a number of words; `most` has the upper bound of each band but the last.

    >>> length_band(11, SENTENCE_WORDS)
    1
    """
    return sum(words > bound for bound in most)


def position_band(position: int, words: int) -> int:
    """Return the third of a sentence in which a word stands, from the word's index, from 0, and the number of words.

    >>> [position_band(index, 6) for index in range(6)]
    [0, 0, 1, 1, 2, 2]
    """
    return min(2, 3 * position // words)


def frequency_band(word: str) -> int:
    """Return the band of a word in WORD_FREQUENCY.

    The Zipf scale is the logarithm to base 10 of the uses in a billion words: W. J. B. van Heuven, P. Mandera,
    E. Keuleers, M. Brysbaert (2014), "SUBTLEX-UK", https://doi.org/10.1080/17470218.2013.850521. The counts come from
    the package wordfreq, which joins several sources (R. Speer, https://doi.org/10.5281/zenodo.7199437).
    """
    from wordfreq import zipf_frequency  # its word list takes half a second and 50 MB, and only fill-mask needs it

    if not any(character.isalnum() for character in word):
        return 4
    frequency = zipf_frequency(word, LANGUAGE)
    return sum(frequency < bound for bound in (6, 5, 4))
