"""What clients send stays between them and the model: no log has it, and no error says where anything is."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asset.local.server import LocalServer, local_server
from serving.tasks import Task
from tests import private_requests
from tests.private_requests import CODES, SCRIPT, Client

ROOT = Path(__file__).resolve().parents[1]
SERVING_PYTHON = ROOT / ".venv/serving/bin/python"
MODELS: dict[Task, str] = {
    "fill-mask": "sharp_checkpoint",
    "text-classification": "sharp_classifier",
    "question-answering": "sharp_reader",
}
LIMITS = {"BERT_SERVING_DEADLINE_MS": "1000", "BERT_SERVING_MAX_QUEUE": "2", "BERT_SERVING_MAX_ANSWER_BYTES": "3000000"}

WORDS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\\n\r\x00{}%\u2028'), max_size=30)
"""Words that a user might write, and such as break lines and quoting."""

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.just("WORD"),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | st.just("WORD"), inner, max_size=4)
    ),
    max_leaves=12,
)


@pytest.fixture(scope="module", params=MODELS)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LocalServer, Client]]:
    """A server of each task, whose model fails or is slow where a text says so."""
    script = tmp_path_factory.mktemp("app") / "entry.py"
    script.write_text(SCRIPT, encoding="utf-8")
    env = {"PYTHONPATH": str(ROOT), **LIMITS}
    model = request.getfixturevalue(MODELS[request.param])
    with local_server(model, python=SERVING_PYTHON, env=env, entry_script=script) as server:
        yield server, Client(server.url, request.param)


answered: set[str] = set()
"""Codes that were answered, by all tasks."""


def test_no_text_or_key_of_a_request_is_in_the_log_and_no_path_in_an_answer(
    served: tuple[LocalServer, Client],
) -> None:
    server, client = served

    @settings(max_examples=12, suppress_health_check=list(HealthCheck))
    @given(text=WORDS, value=VALUES, key=st.sampled_from(["input_data", "inputs", "instances", "dataframe_split"]))
    def send(text: str, value: object, key: str) -> None:
        word = client.mark()
        client.send(json.dumps({key: value}).replace("WORD", word).encode(), word)
        for body in private_requests.bodies(client.task, f"{text}WORD{text}"):
            word = client.mark()
            client.send(json.dumps(body).replace("WORD", word).encode(), word)

    send()
    for text in ("fail now", "be slow"):
        word = client.mark()
        client.send(json.dumps({"input_data": [private_requests.row(client.task, f"{text} {word}")]}).encode(), word)
    word = client.mark()
    client.send(json.dumps({"input_data": [f"[MASK]{word}" * 400_000]}).encode(), word)
    private_requests.other_requests(client)
    refuse(client)
    log = server.log.read_text(encoding="utf-8")
    private_requests.check_log(log, client)
    private_requests.check_answers(client)
    assert "a request failed with ValueError" in log and "cannot read [" not in log
    answered.update(private_requests.codes(client))


def refuse(client: Client) -> None:
    """Send more requests than may queue, at once."""
    with ThreadPoolExecutor(6) as pool:
        for _ in range(6):
            word = f"zqx{time.monotonic_ns()}xqz"
            body = {"input_data": [private_requests.row(client.task, f"be slow {word}")]}
            pool.submit(client.send, json.dumps(body).encode(), word)


def test_every_documented_error_was_among_them() -> None:
    assert answered == CODES


def test_what_a_failure_said_is_shown_to_who_asks_for_it(sharp_checkpoint: Path, tmp_path: Path) -> None:
    script = tmp_path / "entry.py"
    script.write_text(SCRIPT, encoding="utf-8")
    env = {"PYTHONPATH": str(ROOT), "AZUREML_LOG_LEVEL": "DEBUG"}
    with local_server(sharp_checkpoint, python=SERVING_PYTHON, env=env, entry_script=script) as server:
        assert server.post(json.dumps({"inputs": "fail now [MASK]"}).encode()).status == 500
        assert "ValueError: cannot read [('fail now [MASK]', None)]" in server.log.read_text(encoding="utf-8")
