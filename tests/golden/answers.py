"""What is asked of each task's model, in which precisions, and how two answers are compared."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.answering.models import load_model
from serving.answering.service import Service
from serving.native import library
from serving.settings import Settings
from serving.tasks import Task
from tests.golden import checkpoints

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).parent
EMBEDDED = ROOT / "model/embedded"
TASKS: tuple[Task, ...] = ("fill-mask", "text-classification", "question-answering")

LONG = "We walked through the old streets and looked at the houses. " * 60
CAT = "The cat sat on the red mat and the dog slept under the warm roof. "
REQUESTS: dict[Task, list[dict[str, Any]]] = {
    "fill-mask": [
        {"inputs": ["Paris is the [MASK] of France.", "Today is a [MASK] day!"]},
        {"inputs": ["[MASK]", "The [MASK] barked at the [MASK].", "He is un[MASK]able.", "1 + 1 = [MASK]"]},
        {"input_data": ["The doctor gave her some [MASK] for the pain."], "parameters": {"top_k": 20}},
        {"inputs": "She plays the [MASK] in an orchestra.", "parameters": {"targets": ["violin", "bassoon", "car"]}},
        {"inputs": f"{LONG}In the evening we were very [MASK] and went to bed."},
    ],
    "text-classification": [
        {"inputs": ["The cat sat.", "A dog!", "who", "the moon is red, and the moon is cold."]},
        {"inputs": [{"text": "the cat sat on the mat", "text_pair": "the dog slept"}, {"text": "x", "text_pair": ""}]},
        {"inputs": CAT * 4, "parameters": {"function_to_apply": "sigmoid"}},
        {"inputs": "number 1234567890", "parameters": {"function_to_apply": "none"}},
    ],
    "question-answering": [
        {"input_data": [{"question": "Who sat?", "context": CAT}], "parameters": {"top_k": 5}},
        {"input_data": [{"question": "what is red", "context": "it"}], "parameters": {"top_k": 2}},
        {
            "input_data": [{"question": "Where was the dog?", "context": CAT * 6}],
            "parameters": {"top_k": 4, "doc_stride": 8, "max_seq_len": 40, "handle_impossible_answer": True},
        },
    ],
}


@dataclass(frozen=True)
class Precision:
    """What a model is run in, and how far a score may be from the one on file: `absolute` + `relative` x that score."""

    precision: str
    engine: str
    absolute: float
    relative: float

    def near(self, expected: float, found: float) -> bool:
        """Tell whether a score is the one on file, but for rounding."""
        return abs(found - expected) <= self.absolute + self.relative * abs(expected)


PRECISIONS = {
    "fp32": Precision("fp32", "onnxruntime", 1e-5, 1e-3),
    "int8-onnxruntime": Precision("int8", "onnxruntime", 0.01, 0.03),
    "int8-native": Precision("int8", "native", 0.01, 0.03),
}
"""In fp32, another CPU adds up in another order, which moves a score by its sixth digit or so; 1e-3 leaves room for that
and is a twentieth of what int8 moves it by, so that no other precision passes for it. In int8, such a difference can tip an
activation to the next of 256 steps, and all that follows from it: between our kernels for AMX and those for VNNI, scores
of the embedded model differ by up to 0.003. 0.01 is three times that, and a quarter of what lies between int8 and fp32."""


def unavailable(precision: str) -> str | None:
    """Return why this machine cannot run a precision as its answers on file were made; None where it can."""
    if precision == "int8-native":
        try:
            library.load()
        except library.NotAvailable as exc:
            return str(exc)
    return None


def model_folder(task: Task, place: Path) -> Path:
    """Return the model of a task; the tiny ones are written to a place."""
    return EMBEDDED if task == "fill-mask" else checkpoints.write(place / task, task)


def fingerprint(folder: Path) -> str:
    """Return a hash of what a model is."""
    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()[:24]


@functools.cache
def service(folder: Path, precision: str, threads: int = 1) -> Service:
    """Open a model, through all of serving/ that a request goes through."""
    chosen = PRECISIONS[precision]
    settings = Settings(
        device="cpu", precision=chosen.precision, engine=chosen.engine, threads=threads, deadline_ms=60_000
    )
    return Service(load_model(folder, settings), settings)


def answer(served: Service, body: dict[str, Any]) -> Any:  # noqa: ANN401
    """Answer a request as the server would; of a filled-in text, its end."""
    found = served.answer(json.dumps(body))
    assert found.status == 200, found.body
    return json.loads(json.dumps(found.body), object_hook=_shortened)


def _shortened(found: dict[str, Any]) -> dict[str, Any]:
    return {**found, "sequence": found["sequence"][-60:]} if "sequence" in found else found


def differences(expected: Any, found: Any, precision: Precision | None = None, place: str = "") -> list[str]:  # noqa: ANN401
    """Return in words what differs between two answers; with a precision, beyond its rounding.

    Candidates are compared by what they name, not by their order: which of two comes first, or makes the list at all,
    may turn on a score that is as near as rounding.
    """
    if isinstance(expected, dict) and isinstance(found, dict) and set(expected) == set(found):
        return [
            text for key in expected for text in differences(expected[key], found[key], precision, f"{place}.{key}")
        ]
    if isinstance(expected, list) and isinstance(found, list):
        if all(isinstance(one, dict) and "score" in one for one in (*expected, *found)):
            return _of_candidates(expected, found, precision, place)
        if len(expected) == len(found):
            pairs = enumerate(zip(expected, found, strict=True))
            return [text for index, (a, b) in pairs for text in differences(a, b, precision, f"{place}[{index}]")]
    if isinstance(expected, float) and isinstance(found, (int, float)) and _near(expected, found, precision):
        return []
    return [] if expected == found else [f"{place}: {_short(expected)} -> {_short(found)}"]


def _of_candidates(
    expected: list[dict[str, Any]], found: list[dict[str, Any]], precision: Precision | None, place: str
) -> list[str]:
    if len(expected) != len(found):
        return [f"{place}: {len(expected)} candidates -> {len(found)}"]
    before, after = ({_name(one): one["score"] for one in ones} for ones in (expected, found))
    told = []
    for name in {**before, **after}:
        # What is not in a list had at most the score of the last that is.
        one, other = before.get(name, min(before.values())), after.get(name, min(after.values()))
        if not _near(one, other, precision) or (precision is None and (name in before) != (name in after)):
            sides = (f"{one:.6g}" if name in before else "none", f"{other:.6g}" if name in after else "none")
            told.append(f"{place} {name}: {sides[0]} -> {sides[1]}")
    return told


def _name(candidate: dict[str, Any]) -> str:
    keys = [key for key in candidate if key != "score"]
    return " ".join(str(candidate[key]) for key in keys)


def _near(expected: float, found: float, precision: Precision | None) -> bool:
    return expected == found if precision is None else precision.near(expected, found)


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) < 80 else f"{text[:77]}..."
