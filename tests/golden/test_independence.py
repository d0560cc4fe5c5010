"""An answer depends on its request alone: not on what shares its batch, the number of threads, or the process that answers."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from asset.local.server import SERVING_PYTHON, local_server
from serving.answering.service import Service
from serving.tasks import Task
from tests.golden.answers import PRECISIONS, TASKS, Precision, answer, differences, model_folder, service, unavailable

WORDS = "the a cat dog bird sat slept on under red warm mat roof and looked at moon number 12 3".split()
ROUNDING = Precision("", "", 1e-6, 1e-5)
EXACT = Precision("", "", 0.0, 0.0)


def near(task: Task, precision: str) -> Precision:
    """Return what sharing a batch may change.

    Our kernels compute each row by itself, to the same bits. Products of floats, which are ONNX Runtime's and those of the
    last layer of the other tasks, are added up in an order that depends on the batch's shape: that moves the seventh digit.
    In int8 on ONNX Runtime it can tip an activation to the next step (tests.golden.answers).
    """
    if precision == "int8-onnxruntime":
        return PRECISIONS[precision]
    return EXACT if (task, precision) == ("fill-mask", "int8-native") else ROUNDING


@pytest.fixture(scope="module", params=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    return request.param


@pytest.fixture(scope="module")
def folder(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder(task, tmp_path_factory.mktemp("independence"))


@pytest.fixture(params=PRECISIONS)
def precision(request: pytest.FixtureRequest) -> str:
    reason = unavailable(request.param)
    if reason:
        pytest.skip(reason)
    return request.param


def rows(task: Task, number: int = 24) -> list[Any]:
    """Return rows of one to forty words, the same each time."""
    draw = random.Random(17)
    texts = [" ".join(draw.choices(WORDS, k=draw.choice([1, 2, 3, 5, 8, 13, 21, 40]))) for _ in range(number)]
    if task == "fill-mask":
        return [f"{text} [MASK] {WORDS[index % 7]}." for index, text in enumerate(texts)]
    if task == "text-classification":
        return [
            {"text": text, "text_pair": texts[index - 1]} if index % 3 else text for index, text in enumerate(texts)
        ]
    return [{"question": f"who {WORDS[index % 9]}?", "context": text} for index, text in enumerate(texts)]


def ask(served: Service, of_rows: list[Any]) -> list[Any]:
    parameters = {"top_k": 3}
    body = [
        {"text": row} if isinstance(row, str) and any(isinstance(r, dict) for r in of_rows) else row for row in of_rows
    ]
    return answer(served, {"input_data": body, "parameters": parameters})


def test_what_shares_a_batch_changes_no_answer(task: Task, folder: Path, precision: str) -> None:
    served = service(folder, precision)
    asked = rows(task)
    alone = [ask(served, [row])[0] for row in asked]
    rounding = near(task, precision)
    for seed in range(4):
        order = random.Random(seed).sample(range(len(asked)), len(asked))
        together = ask(served, [asked[index] for index in order])
        assert differences([alone[index] for index in order], together, rounding) == []
    with ThreadPoolExecutor(8) as pool:  # and batches of other requests' rows
        crowd = list(pool.map(lambda row: ask(served, [row])[0], asked * 3))
    assert differences(alone * 3, crowd, rounding) == []


def test_the_number_of_threads_changes_no_answer(task: Task, folder: Path, precision: str) -> None:
    asked = rows(task)
    one, two = (ask(service(folder, precision, threads), asked) for threads in (1, 2))
    assert differences(one, two, near(task, precision)) == []


def test_each_worker_gives_the_same_answers(task: Task, folder: Path) -> None:
    asked = rows(task, 6)
    preload = "true" if task == "text-classification" else "false"  # once from one process that forks, else from two
    env = {
        "WORKER_COUNT": "2",
        "WORKER_PRELOAD": preload,
        "BERT_SERVING_PRECISION": "fp32",
        "BERT_SERVING_THREADS": "1",
    }
    bodies = [json.dumps({"instances": [row], "parameters": {"top_k": 3}}).encode() for row in asked]
    found: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
    with local_server(folder, python=SERVING_PYTHON, env=env) as server:
        for _ in range(20):
            with ThreadPoolExecutor(4) as pool:
                replies = list(pool.map(server.post, bodies))
            for index, reply in enumerate(replies):
                assert reply.status == 200
                found[reply.headers["x-request-id"]].append((index, reply.body))
            log = server.log.read_text(encoding="utf-8")
            lines = [json.loads(line) for line in log.splitlines() if line.startswith('{"time"')]
            answers = {(line["pid"], *found[line["request_id"]][0]) for line in lines}
            by_worker = {pid: {index for one, index, _ in answers if one == pid} for pid, _, _ in answers}
            if len(by_worker) == 2 and all(len(seen) == len(bodies) for seen in by_worker.values()):
                break
    assert len(by_worker) == 2, "expected both workers to have answered"
    by_body = {index: {body for _, one, body in answers if one == index} for index in range(len(bodies))}
    for index, bodies_found in by_body.items():
        [first, *others] = [json.loads(body) for body in bodies_found]
        for other in others:
            assert differences(first, other, ROUNDING) == [], index
