"""Fill masks: texts in, candidates out.

FillMask.load(folder).fill(["Paris is the [MASK] of France."])
-> [[[Candidate(token_str="capital", token=3007, score=0.70, …)]]]     (a text, a mask, its candidates)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

from serving.engine.engine import Engine, open_engine, open_folder
from serving.engine.heads import MaskHead, Scores
from serving.errors import BadRequest
from serving.model.tokenizer import EncodedText, MaskTokenizer, Passage
from serving.requests.call import check_answer, check_passages
from serving.settings import Settings
from serving.tasks import Task


@dataclass(frozen=True)
class Candidate:
    """A word for a mask, its probability there, and where in the user's `text` the mask stands.

    `token` is the vocabulary's id, or a list of them for a target of several word pieces.
    """

    token_str: str
    token: int | list[int]
    score: float
    text: str
    span: tuple[int, int]

    @property
    def sequence(self) -> str:
        """The user's text with the word in the mask's place; ##ing joins the word before it."""
        start, end = self.span
        before = self.text[:start].rstrip() if self.token_str.startswith("##") else self.text[:start]
        return before + self.token_str.removeprefix("##") + self.text[end:]


CANDIDATE_BYTES = 64
"""What a candidate takes in an answer at least, its sequence aside."""


class Word(NamedTuple):
    """A word for a mask, before it is put into the text."""

    text: str
    token: int | list[int]
    score: float


class Target(NamedTuple):
    """A word that the client asks about, and its token ids."""

    word: str
    pieces: list[int]


class Filled(list[list[list[Candidate]]]):
    """The candidates, best first: of each text, of each of its masks. `windowed` counts texts longer than the model."""

    windowed: int = 0


@dataclass(frozen=True, eq=False)
class FillMask:
    """A masked-language model that is ready to answer; `load` makes it from a folder."""

    task: ClassVar[Task] = "fill-mask"
    tokenizer: MaskTokenizer
    engine: Engine[list[Scores]]
    settings: Settings
    name: str

    @classmethod
    def load(cls, folder: Path, precision: str | None = None, settings: Settings | None = None) -> Self:
        """Load a model folder, compiling it where that was not done yet; raises ModelFolderError."""
        settings = settings or Settings()
        opened = open_folder(folder, cls.task)
        config = opened.config
        tokenizer = MaskTokenizer(opened.parts.tokenizer, config.vocab_size, config.max_positions)
        engine = open_engine(opened, MaskHead(config.vocab_size), tokenizer.pad_id, precision, settings)
        return cls(tokenizer, engine, settings, opened.parts.name)

    def normalize(self, text: str) -> str:
        """Return a text as the model sees it: an uncased model does not tell capitals from small letters."""
        return self.tokenizer.normalize(text)

    def fill(
        self,
        texts: Sequence[str],
        top_k: int = 1,
        targets: Sequence[str] | None = None,
        row_name: Callable[[int], str] = "row {}".format,
    ) -> Filled:
        """Return the best `top_k` candidates of each mask; of the targets only, where there are any.

        A target's score is its probability among all of the vocabulary. One of several pieces has the product of its
        pieces' probabilities, left to right, each given those before it and with the mask made as long as the word.

        Raises BadRequest for a text without a mask or with too many, or a target that cannot be spelled; TooLarge
        where it takes more passages than the limit. `row_name` names a text by its index in these messages.
        """
        encoded = self.tokenizer.encode(texts)
        for index, row in enumerate(encoded):
            self._check_masks(row, index, row_name(index))
        check_answer(sum(len(row.masks) for row in encoded) * top_k * CANDIDATE_BYTES, self.settings)
        words = self._target_words(encoded, targets) if targets else self._best_words(encoded, top_k)
        filled = Filled()
        for text, row, masks in zip(texts, encoded, words, strict=True):
            found = zip(row.spans, masks, strict=True)
            filled.append([[Candidate(*word, text, span) for word in best[:top_k]] for span, best in found])
        filled.windowed = sum(len(row.ids) > self.tokenizer.window for row in encoded)
        return filled

    def refusals(self, texts: Sequence[str], row_name: Callable[[int], str] = "row {}".format) -> dict[int, BadRequest]:
        """Return why `fill` would refuse each text by itself, by its index; the texts that are not in it, it fills.

        Where it raises, this tells a caller with many rows which to leave out.
        """
        refused = {}
        for index, row in enumerate(self.tokenizer.encode(texts)):
            try:
                self._check_masks(row, index, row_name(index))
            except BadRequest as exc:
                refused[index] = exc
        return refused

    def _best_words(self, encoded: Sequence[EncodedText], top_k: int) -> list[list[list[Word]]]:
        rows = self._run([self.tokenizer.passages(text.ids, text.masks, top_k=top_k) for text in encoded])
        return [
            [[Word(self.tokenizer.token(t), t, s) for t, s in zip(m.tokens, m.scores, strict=True)] for m in row]
            for row in rows
        ]

    def _target_words(self, encoded: Sequence[EncodedText], words: Sequence[str]) -> list[list[list[Word]]]:
        targets = [self._target(word) for word in dict.fromkeys(words)]
        whole = [target for target in targets if len(target.pieces) == 1]
        split = [target for target in targets if len(target.pieces) > 1]
        spelled = iter(self._spell(encoded, split))
        ids = [target.pieces[0] for target in whole]
        nothing = [[Scores([], [], [])] * len(text.masks) for text in encoded]
        plain = [self.tokenizer.passages(text.ids, text.masks, ids) for text in encoded] if whole else []
        scores = self._run(plain) if plain else nothing

        def scored(mask: Scores) -> list[Word]:
            found = [Word(t.word, t.pieces[0], score) for t, score in zip(whole, mask.target_scores, strict=True)]
            found += [Word(t.word, t.pieces, next(spelled)) for t in split]
            return sorted(found, key=lambda word: -word.score)

        return [[scored(mask) for mask in row] for row in scores]

    def _spell(self, encoded: Sequence[EncodedText], targets: Sequence[Target]) -> list[float]:
        """Return the probability of each target of several pieces: by text, by mask, by target."""
        masks = [(text, mask) for text in encoded for mask in text.masks]
        check_passages(len(masks) * sum(len(target.pieces) for target in targets), self.settings)
        passages = [
            [self.tokenizer.spelled(text.ids, mask, target.pieces, piece) for piece in range(len(target.pieces))]
            for text, mask in masks
            for target in targets
        ]
        return [math.prod(piece.target_scores[0] for piece in pieces) for pieces in self._run(passages)]

    def _run(self, passages: Sequence[Sequence[Passage]]) -> list[list[Scores]]:
        """Return the scores of each group's masks, the passages of a group (a text's windows) put together again."""
        flat = list(itertools.chain.from_iterable(passages))
        check_passages(len(flat), self.settings)
        scores = iter(self.engine.run(flat))
        return [list(itertools.chain.from_iterable(itertools.islice(scores, len(row)))) for row in passages]

    def _target(self, word: str) -> Target:
        pieces = self.tokenizer.pieces(word)
        if pieces is None:
            raise BadRequest("unknown_target", f"target {word!r} cannot be spelled with the model's vocabulary")
        return Target(word, pieces)

    def _check_masks(self, text: EncodedText, index: int, name: str) -> None:
        if not text.masks:
            raise BadRequest("missing_mask", f"{name} has no {self.tokenizer.mask_token} token", index)
        limit = self.settings.max_masks
        if len(text.masks) > limit:
            found = f"{name} has {len(text.masks)} {self.tokenizer.mask_token} tokens"
            raise BadRequest("too_many_masks", f"{found}, expected at most {limit}", index)
