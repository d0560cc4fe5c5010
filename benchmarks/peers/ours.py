"""The engine of serving/, as the scoring script runs it."""

from __future__ import annotations

from benchmarks.inputs import Batch
from benchmarks.peers import Answers, Job
from serving.answering.fill_mask import FillMask
from serving.model.tokenizer import Passage
from serving.settings import Settings


class Ours:
    """FillMask from texts, or its engine from token ids."""

    def __init__(self, precision: str, text: bool = False) -> None:
        """Take the settings; `prepare` loads the model."""
        self._precision = precision
        self.run = self._run_texts if text else self._run_ids

    def prepare(self, job: Job) -> None:
        """Load the model, compiling it where that was not done yet."""
        settings = Settings(threads=job.threads, cache_dir=job.cache / "ours")
        self._model = FillMask.load(job.model, self._precision, settings)
        self._model.engine.warm_up()

    def _run_ids(self, batch: Batch) -> Answers:
        passages = [Passage(ids, [mask]) for ids, mask in zip(batch.ids, batch.masks, strict=True)]
        best = [mask for (mask,) in self._model.engine.run(passages)]
        return [mask.tokens[0] for mask in best], [mask.scores[0] for mask in best]

    def _run_texts(self, batch: Batch) -> Answers:
        best = [candidates[0] for (candidates,) in self._model.fill(batch.texts)]
        return [candidate.token for candidate in best], [candidate.score for candidate in best]
