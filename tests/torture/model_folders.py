"""Model folders that are damaged, or made to harm: each is refused with a ModelFolderError, or answers as any other.

A damaged folder may still be a model: what it then answers is checked as every answer is.
"""

from __future__ import annotations

import gc
import os
import random
import shutil
from collections import Counter
from pathlib import Path

from serving.answering.models import load_model
from serving.answering.service import Service
from serving.errors import ModelFolderError
from serving.model.checkpoint import check
from serving.model.model_folder import find_checkpoint
from serving.settings import Settings
from serving.tasks import Task
from tests.torture import folder_parts, weights_bytes
from tests.torture.answers import LONGEST_MESSAGE, answered
from tests.torture.attack import BrokenPromise, drawing, shown
from tests.torture.checkpoints import ARCHITECTURES, write_checkpoint
from tests.torture.raw_bodies import examples

DAMAGES = (*weights_bytes.DAMAGES, *folder_parts.DAMAGES)
FOLDER_NAMES = ("model", "model", "model", "17", "modèle", "模型", "a\nb", "x: y", "x" * 250, "\udcff", " ", "%s{}")

BODIES = (
    *(
        '{"inputs": "the [MASK]"}',
        '{"inputs": ["a [MASK] a aaaa", "the cat"]}',
        '{"input_data": ["' + "a " * 300 + '[MASK]"]}',
    ),
    *('{"inputs": {"text": "the cat", "text_pair": "sat on the mat"}, "parameters": {"top_k": 1000}}',),
    *('{"inputs": {"question": "who sat?", "context": "' + "the cat sat. " * 60 + '"}, "params": {"top_k": 9}}',),
    *('{"inputs": "the [MASK] [MASK]", "parameters": {"targets": ["cats", "dog"], "top_k": 2}}',),
)


class ModelFolders:
    """Makes them from tiny checkpoints, starts each, and has it answer."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._seed = folder, seed
        self._sound = {task: write_checkpoint(folder / "sound" / task, task) for task in ARCHITECTURES}
        for number, task in enumerate(self._sound):  # libraries are imported, kernels built
            self._serve(self._sound[task], Settings(threads=1, precision=("fp32", "auto")[number % 2]))

    def watched(self) -> int:
        """Return this process: it starts the models."""
        return os.getpid()

    def case(self, number: int) -> Counter[str]:
        """Damage one folder in one way, two times of ten in two, and start it."""
        draw = drawing("folders", self._seed, number)
        task: Task = draw.choice(list(self._sound))
        place = self._folder / f"case-{number}"
        model = place / draw.choice(FOLDER_NAMES)
        shutil.copytree(self._sound[task], model)
        damages = [DAMAGES[number % len(DAMAGES)], *draw.choices(DAMAGES, k=draw.choice([0, 0, 0, 0, 1]))]
        try:
            for damage in damages:
                if _is_plain(model):
                    _apply(damage, model, draw)
            outcome = self._started(model, place, draw)
            if (model / "canary").exists():
                raise BrokenPromise("a pickle was opened")
        except BaseException as exc:
            exc.add_note(f"{task}, {', '.join(one.__name__ for one in damages)}, {model!r}")
            raise
        finally:
            if not os.environ.get("TORTURE_KEEP"):
                shutil.rmtree(place, ignore_errors=True)
            gc.collect()
        return Counter([f"{damages[0].__name__}: {outcome}"])

    def _started(self, model: Path, place: Path, draw: random.Random) -> str:
        settings = Settings(threads=1, precision=draw.choice(["auto", "fp32"]), cache_dir=place / "cache")
        looked_at = _said(lambda: check(find_checkpoint(model).checkpoint))
        said = _said(lambda: self._serve(model, settings))
        if looked_at and not said:
            raise BrokenPromise(f"the look at it refuses what is served: {looked_at}")
        return "refused" if said else "served"

    def _serve(self, model: Path, settings: Settings) -> None:
        loaded = load_model(model, settings)
        loaded.engine.warm_up()
        service = Service(loaded, settings)
        for body in (*BODIES, *(example.decode() for example in examples(loaded.task))):
            answered(service, body)

    def close(self) -> None:
        """Nothing is left running."""


def _is_plain(model: Path) -> bool:
    """Tell whether the files can be damaged again: an earlier damage may have made one a device, or terabytes."""
    files = [path for path in model.iterdir() if path.name != ".compiled"]
    # The files below /proc are empty, and some wait for ever.
    return all(path.is_file() and 0 < path.stat().st_size < 1 << 26 for path in files)


def _apply(damage: weights_bytes.Damage, model: Path, draw: random.Random) -> None:
    try:
        damage(model, draw)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, MemoryError, RecursionError):
        # The first damage left nothing for the second.
        return


def _said(do: object) -> str | None:
    """Return what a folder is refused with, None where it is not; raises BrokenPromise for no message of one that is read."""
    try:
        do()  # type: ignore[operator]
    except ModelFolderError as exc:
        text = str(exc)
        if len(text) > LONGEST_MESSAGE + 300 or "Traceback" in text:
            raise BrokenPromise(f"a message of {len(text)} characters: {shown(text)}") from exc
        return text
    return None
