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
from typing import Any, ClassVar, NamedTuple, Self

from serving.answering.models import AnswerForm, Model, RequestAnswer
from serving.engine.engine import Engine, open_engine, open_folder
from serving.engine.heads import MaskHead, Scores
from serving.errors import BadRequest
from serving.model.tokenizer import EncodedText, MaskTokenizer, Passage
from serving.requests.call import check_answer, check_passages
from serving.requests.parameters import Parameter, Targets, Whole
from serving.requests.rows import TEXT_COLUMNS, Fields, Json
from serving.requests.schema import Request, TaskInput
from serving.settings import Settings
from serving.tasks import Task


@dataclass(frozen=True)
class Candidate:
    """A word for a mask, its probability, the user's text, and the mask's place in it.

    `token` is the word's id in the vocabulary, or a list of ids for a target of several word pieces.
    """

    token_str: str
    token: int | list[int]
    score: float
    text: str
    span: tuple[int, int]

    @property
    def sequence(self) -> str:
        """The user's text with the word in the mask's place; a piece such as ##ing joins the word before it."""
        start, end = self.span
        before = self.text[:start].rstrip() if self.token_str.startswith("##") else self.text[:start]
        return before + self.token_str.removeprefix("##") + self.text[end:]


CANDIDATES = 5
"""Candidates a mask that Hugging Face's clients expect without asking."""

CANDIDATE_BYTES = 64
"""The size of a candidate in an answer, without its sequence."""


class Word(NamedTuple):
    """A word for a mask, its token and its probability."""

    text: str
    token: int | list[int]
    score: float


class Target(NamedTuple):
    """A word that the client asks about, and its token ids."""

    word: str
    pieces: list[int]


class Filled(list[list[list[Candidate]]]):
    """The candidates for each mask of each text, best first. `windowed` counts the texts that are longer than the model."""

    windowed: int = 0


def candidates_wanted(request: Request) -> int:
    """Return how many candidates a mask the answer needs."""
    parameters = request.parameters
    if "top_k" in parameters:
        return int(parameters["top_k"])
    if "targets" in parameters:
        return len(parameters["targets"])
    return CANDIDATES if request.dialect.full else 1


def filled_answer(request: Request, filled: Filled, settings: Settings) -> Json:
    """Answer with a word for each mask, or with candidates; raises TooLarge if their texts make the answer too long."""
    plain = not request.parameters and not request.dialect.full
    if not plain:
        counts = (sum(map(len, masks)) for masks in filled)
        sizes = (len(text) + CANDIDATE_BYTES for text in request.texts)
        check_answer(sum(count * size for count, size in zip(counts, sizes, strict=True)), settings)
    rows = []
    for masks in filled:
        answers: list[Json] = [words[0].token_str if plain else list(map(_described, words)) for words in masks]
        rows.append(answers[0] if len(answers) == 1 else answers)
    return request.shaped(rows)


def _described(word: Candidate) -> dict[str, Any]:
    return {"token_str": word.token_str, "token": word.token, "score": word.score, "sequence": word.sequence}


SAMPLE_WORDS = (
    ("capital", 3007, 0.74),
    ("city", 2103, 0.13),
    ("town", 2237, 0.02),
    ("state", 2110, 0.01),
    ("port", 3417, 0.01),
)
"""The embedded model's words for the sample row."""


def _example(request: Request) -> Json:
    text, mask = request.texts[0], "[MASK]"
    span = (text.index(mask), text.index(mask) + len(mask))
    words = [Candidate(*word, text, span) for word in SAMPLE_WORDS[: candidates_wanted(request)]]
    return filled_answer(request, Filled([[words]]), Settings())


def _row_schema(form: AnswerForm, full: bool) -> dict[str, Json]:
    several = {"type": "array", "minItems": 2, "description": "One for each of several masks."}
    candidates: list[Json] = [form.several, several | {"items": form.several}]
    words: list[Json] = [{"type": "string"}, several | {"items": {"type": "string"}}]
    return {"anyOf": candidates if full else words + candidates}


@dataclass(frozen=True, eq=False)
class FillMask:
    """A masked-language model that is ready to answer; `load` makes it from a folder."""

    task: ClassVar[Task] = "fill-mask"
    input: ClassVar[TaskInput] = TaskInput(
        Fields("fill-mask", TEXT_COLUMNS),
        {
            "top_k": Parameter(Whole(1, "max_top_k"), "Candidates a mask, best first."),
            "targets": Parameter(
                Targets(), "Words to score, among all the words of the vocabulary, instead of the best."
            ),
        },
        sample="Paris is the [MASK] of France.",
        text={"type": "string", "description": "A text with one [MASK] or more.", "pattern": r"\[MASK\]"},
    )
    form: ClassVar[AnswerForm] = AnswerForm(
        "candidate",
        {
            "token_str": {"type": "string", "description": "A word, or a piece of a word, such as ##ing."},
            "token": {
                "type": ["integer", "array"],
                "minimum": 0,
                "minItems": 2,
                "items": {"type": "integer", "minimum": 0},
                "description": "Its id in the vocabulary; a list for a target of several word pieces.",
            },
            "score": {"type": "number", "minimum": 0, "description": "Its probability at the mask."},
            "sequence": {"type": "string", "description": "The text with the word in the mask's place."},
        },
        _row_schema,
        _example,
        counter="x-windowed-rows",
    )
    tokenizer: MaskTokenizer
    engine: Engine[list[Scores]]
    settings: Settings
    name: str

    @classmethod
    def load(cls, folder: Path, precision: str | None = None, settings: Settings | None = None) -> Self:
        """Load a model folder, compiling the model if needed; raises ModelFolderError."""
        settings = settings or Settings()
        opened = open_folder(folder, cls.task)
        config = opened.config
        tokenizer = MaskTokenizer(opened.parts.tokenizer, config.vocab_size, config.max_positions)
        engine = open_engine(opened, MaskHead(config.vocab_size), tokenizer.pad_id, precision, settings)
        return cls(tokenizer, engine, settings, opened.parts.name)

    def answer_request(self, request: Request) -> RequestAnswer:
        """Answer all rows of a request; raises a RequestError, with the row at fault if there is one."""
        targets = request.parameters.get("targets")
        filled = self.fill(request.texts, candidates_wanted(request), targets, request.row_name)
        headers = {self.form.counter: str(filled.windowed)}
        return RequestAnswer(filled_answer(request, filled, self.settings), headers)

    def refused_rows(self, request: Request) -> dict[int, BadRequest]:
        """Return the errors of the rows that cannot be answered, by their index."""
        return self.refusals(request.texts, request.row_name)

    def normalize(self, text: str) -> str:
        """Return a text as the model sees it: in small letters for an uncased model."""
        return self.tokenizer.normalize(text)

    def fill(
        self,
        texts: Sequence[str],
        top_k: int = 1,
        targets: Sequence[str] | None = None,
        row_name: Callable[[int], str] = "row {}".format,
    ) -> Filled:
        """Return the best `top_k` candidates for each mask; if there are targets, the best of the targets only.

        A target's score is its probability among all words of the vocabulary. The score of a target of several pieces is
        the product of its pieces' probabilities, from left to right, each given the pieces before it; the mask is made as
        long as the word for that.

        Raises BadRequest for a text without a mask or with too many masks, and for a target that cannot be spelled;
        TooLarge if the request takes more passages than the limit. `row_name` names a text by its index in messages.
        """
        encoded = self.tokenizer.encode(texts)
        for index, row in enumerate(encoded):
            self._check_masks(row, index, row_name(index))
        check_answer(sum(len(row.masks) for row in encoded) * top_k * CANDIDATE_BYTES, self.settings)
        words = self._target_words(encoded, targets) if targets else self._best_words(encoded, top_k)
        filled = Filled()
        for text, row, masks in zip(texts, encoded, words, strict=True):
            best_words = zip(row.spans, masks, strict=True)
            filled.append([[Candidate(*word, text, span) for word in best[:top_k]] for span, best in best_words])
        filled.windowed = sum(len(row.ids) > self.tokenizer.window for row in encoded)
        return filled

    def refusals(self, texts: Sequence[str], row_name: Callable[[int], str] = "row {}".format) -> dict[int, BadRequest]:
        """Return the errors of the texts that `fill` would refuse, by their index; `fill` fills all other texts.

        If `fill` raises, a caller with many rows learns here which rows to leave out.
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
            scored_words = [
                Word(t.word, t.pieces[0], score) for t, score in zip(whole, mask.target_scores, strict=True)
            ]
            scored_words += [Word(t.word, t.pieces, next(spelled)) for t in split]
            return sorted(scored_words, key=lambda word: -word.score)

        return [[scored(mask) for mask in row] for row in scores]

    def _spell(self, encoded: Sequence[EncodedText], targets: Sequence[Target]) -> list[float]:
        """Return the probability of each target of several pieces, ordered by text, then mask, then target."""
        masks = [(text, mask) for text in encoded for mask in text.masks]
        check_passages(len(masks) * sum(len(target.pieces) for target in targets), self.settings)
        passages = [
            [self.tokenizer.spelled(text.ids, mask, target.pieces, piece) for piece in range(len(target.pieces))]
            for text, mask in masks
            for target in targets
        ]
        return [math.prod(piece.target_scores[0] for piece in pieces) for pieces in self._run(passages)]

    def _run(self, passages: Sequence[Sequence[Passage]]) -> list[list[Scores]]:
        """Return the scores of the masks of each group; a group is the passages of a text, which are its windows."""
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


MODEL: type[Model] = FillMask
