"""Answer rows as the online endpoint does; a row that cannot be answered gets an error, and the others are answered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from deployment.batch_options import Options, OptionsError
from serving.answering.models import load_model
from serving.answering.service import Service
from serving.errors import BadRequest
from serving.model.checkpoint import weights_file
from serving.model.model_folder import chosen_folder, find_checkpoint
from serving.requests.parameters import check
from serving.requests.rows import Row as Texts
from serving.requests.schema import DIALECTS, Request, check_row
from serving.settings import Settings
from serving.tasks import Task

AZURE_ML = next(dialect for dialect in DIALECTS if dialect.name == "azureml")
"""Whose answers these are."""


class _Rows(Request):
    def row_name(self, index: int) -> str:
        """Name a row in a message: its number stands beside that."""
        return "the row"


class BatchModel:
    """A model that is ready to answer, with the parameters for every row."""

    def __init__(self, service: Service, parameters: dict[str, Any], identity: str) -> None:
        """Take the parts; `load` makes them."""
        self._service = service
        self._parameters = parameters
        self.identity = identity
        """A hash of the model and its settings: files that were scored with another one are scored again."""

    @classmethod
    def load(cls, root: Path, options: Options) -> Self:
        """Load the model that the environment names, by default from `root`/model, and answer a row with it.

        Raises ModelFolderError, SettingsError, or OptionsError if this model does not take the parameters.
        """
        folder = chosen_folder(root)
        settings = Settings.from_env().unlimited()
        service = Service(load_model(folder, settings), settings)
        inputs = service.model.input
        try:
            parameters = check(options.parameters, inputs.parameters, inputs.task, settings)
            model = cls(service, parameters, _identity(folder, settings, options))
            service.model.answer_request(model._request([inputs.sample_row]))
        except BadRequest as exc:
            raise OptionsError(f"BATCH_SCORING_PARAMETERS: {exc}; correct it") from exc
        return model

    @property
    def name(self) -> str:
        """Return the model's name."""
        return self._service.model.name

    @property
    def task(self) -> Task:
        """Return the model's task."""
        return self._service.model.task

    @property
    def answers_a_row(self) -> int:
        """Return about how many candidates, labels or spans the answer of a row has."""
        return int(self._parameters.get("top_k") or len(self._parameters.get("targets", ())) or 1)

    def answers(self, rows: Sequence[Texts]) -> list[Any | BadRequest]:
        """Return the answer to each row in its order, as the online endpoint gives it, or its error."""
        answers: list[Any | BadRequest] = [self._unusable(row) for row in rows]
        usable = [index for index, error in enumerate(answers) if error is None]
        if usable:
            request = self._request([rows[index] for index in usable])
            try:
                answered, _ = self._service.model.answer_request(request)
            except BadRequest:
                refused = self._service.model.refused_rows(request)
                for place, error in refused.items():
                    answers[usable[place]] = error
                usable = [index for place, index in enumerate(usable) if place not in refused]
                answered, _ = self._service.model.answer_request(self._request([rows[index] for index in usable]))
            for index, answer in zip(usable, answered, strict=True):
                answers[index] = answer
        return answers

    def _unusable(self, row: Texts) -> BadRequest | None:
        try:
            check_row(row, self._service.model.input.fields, "the row")
        except BadRequest as exc:
            return exc
        return None

    def _request(self, rows: Sequence[Texts]) -> Request:
        return _Rows(AZURE_ML, list(rows), self._parameters)


def _identity(folder: Path, settings: Settings, options: Options) -> str:
    """Return a hash of what answers depend on, files by their size and time of change, as `make` does it."""
    checkpoint = find_checkpoint(folder)
    parts: list[object] = [settings.precision, settings.engine, options.parameters, options.columns]
    for path in (weights_file(checkpoint.checkpoint), checkpoint.checkpoint / "config.json", checkpoint.tokenizer):
        status = path.stat()
        parts.append([path.name, status.st_size, status.st_mtime_ns])
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
