"""The asset as its users meet it: Microsoft's inference server on score.py, over HTTP."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import InferenceClient

from asset.local.server import LocalServer, LocalServerError, Reply, local_server
from tests.torture.worker import forget, held

ROOT = Path(__file__).resolve().parents[1]
SERVING_PYTHON = ROOT / ".venv/serving/bin/python"
PARIS = "Paris is the [MASK] of France."
SECRET = "a sentence of the user's that no log may show"


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    """One server for all tests, as a fresh checkout starts it: no model folder is named."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("AZUREML_MODEL_DIR", raising=False)
        with local_server(python=SERVING_PYTHON) as running:
            yield running


def post(server: LocalServer, body: object) -> Reply:
    return server.post(body if isinstance(body, bytes) else json.dumps(body).encode())


def test_the_cards_request_gets_the_cards_answer(server: LocalServer) -> None:
    reply = post(server, json.loads((ROOT / "sample_input.json").read_text(encoding="utf-8")))
    assert reply.status == 200
    first, second = json.loads(reply.body)
    assert first == "capital"
    assert second in {"great", "good", "beautiful", "nice", "new", "happy", "perfect", "lovely", "big", "wonderful"}


def test_hugging_faces_client_is_answered_in_its_own_shape(server: LocalServer) -> None:
    client = InferenceClient(model=f"{server.url}/score")
    found = client.fill_mask(PARIS)
    assert (len(found), found[0].token_str, found[0].sequence) == (5, "capital", "Paris is the capital of France.")
    assert len(client.fill_mask(PARIS, top_k=2)) == 2
    asked = client.fill_mask(PARIS, targets=["metropolis", "capital", "supercity"])
    assert [word.token_str for word in asked][0] == "capital"
    assert {word.token_str for word in asked} == {"metropolis", "capital", "supercity"}


def test_hugging_faces_client_classifies_texts(sharp_classifier: Path) -> None:
    with local_server(sharp_classifier, python=SERVING_PYTHON) as server:
        client = InferenceClient(model=f"{server.url}/score")
        found = client.text_classification("The cat sat on the warm mat.")
        assert {element.label for element in found} == {"bad", "so-so", "good"}
        assert found[0].score > found[1].score > found[2].score
        assert sum(element.score for element in found) == pytest.approx(1, abs=1e-5)
        assert client.text_classification("The cat sat on the warm mat.", top_k=1) == found[:1]
        raw = client.text_classification("The cat sat on the warm mat.", function_to_apply="none")
        assert [element.label for element in raw] == [element.label for element in found]
        assert raw[0].score != found[0].score
        reply = post(server, {"X": ["The cat sat.", "The red roof " * 30]})
        assert [set(row) for row in json.loads(reply.body)] == [{"label", "score"}] * 2
        assert reply.headers["x-truncated-rows"] == "1"
        assert reply.headers["x-model-name"] == "tiny-bert"
        wrong = post(server, {"prompt": PARIS})
        assert (wrong.status, json.loads(wrong.body)["error"]["code"]) == (400, "wrong_task")


def test_hugging_faces_client_asks_questions(sharp_reader: Path) -> None:
    context = "  The cat sat on the warm mat \U0001f33b, and the dog looked at moon number 1234. " * 3
    with local_server(sharp_reader, python=SERVING_PYTHON) as server:
        client = InferenceClient(model=f"{server.url}/score")
        found = client.question_answering("Who sat?", context)
        assert context[found.start : found.end] == found.answer
        several = client.question_answering(
            "Who sat?", context, top_k=3, max_answer_len=2, doc_stride=4, max_seq_len=24, align_to_words=True
        )
        assert [context[answer.start : answer.end] for answer in several] == [answer.answer for answer in several]
        assert len({answer.answer.lower() for answer in several}) == 3
        reply = post(server, {"inputs": {"question": "Who sat?", "context": context}})
        assert reply.headers["x-windowed-rows"] == "1"
        refused = post(server, {"input_data": [PARIS]})
        assert (refused.status, json.loads(refused.body)["error"]["code"]) == (400, "wrong_task")


def test_the_answer_says_which_model_gave_it_and_how_many_rows_were_windowed(server: LocalServer) -> None:
    long = "We walked through the old streets and looked at the houses. " * 60 + PARIS + " It rained." * 200
    reply = post(server, {"input_data": [PARIS, long]})
    short, windowed = json.loads(reply.body)
    assert (short, type(windowed)) == ("capital", str)
    assert reply.headers["x-model-name"].startswith("embedded-")
    assert reply.headers["x-windowed-rows"] == "1"
    assert reply.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    ("body", "status", "code", "index"),
    [
        (b"{'input_data': [1", 400, "invalid_json", None),
        (b"", 400, "invalid_json", None),
        ({"data": [PARIS]}, 400, "unknown_request", None),
        ({"input_data": [PARIS, SECRET]}, 400, "missing_mask", 1),
        ({"input_data": [PARIS, 7]}, 400, "not_text", 1),
        ({"input_data": [PARIS] * 10_000}, 413, "too_many_rows", None),
        (json.dumps({"input_data": ["x" * 5_000_000]}).encode(), 413, "body_too_large", None),
        ({"input_data": [PARIS], "parameters": {"targets": ["capital", "\U0001f389"]}}, 400, "unknown_target", None),
        ({"input_data": ["[MASK]" * 65]}, 400, "too_many_masks", 0),
    ],
)
def test_a_bad_request_is_answered_with_its_error(
    server: LocalServer, body: object, status: int, code: str, index: int | None
) -> None:
    reply = post(server, body)
    error = json.loads(reply.body)["error"]
    assert (reply.status, error["code"], error.get("index")) == (status, code, index)
    assert set(error) <= {"code", "message", "index"}
    assert reply.headers["x-model-name"].startswith("embedded-")


def test_an_empty_list_is_answered_with_an_empty_list(server: LocalServer) -> None:
    reply = post(server, {"input_data": []})
    assert (reply.status, json.loads(reply.body)) == (200, [])


def test_a_body_sent_as_a_form_is_told_the_header(server: LocalServer) -> None:
    # What curl sends without -H; Flask then reads the form and leaves no body.
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    connection.request("POST", "/score", "{}", {"Content-Type": "application/x-www-form-urlencoded"})
    answer = connection.getresponse()
    assert (answer.status, "Content-Type: application/json" in answer.read().decode()) == (400, True)
    connection.close()


def test_bytes_that_are_no_text_are_refused(server: LocalServer) -> None:
    assert post(server, b'{"input_data": ["\xff [MASK]"]}').status == 400


def test_requests_at_the_same_time_get_their_own_answers(server: LocalServer) -> None:
    capitals = [f"{name} is the [MASK] of {land}." for name, land in (("Paris", "France"), ("Rome", "Italy"))]
    texts = [[*capitals, "Today is a [MASK] day!"][n % 3] + " And so on." * (n % 7) for n in range(42)]
    alone = [post(server, {"inputs": text}).body for text in texts]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda text: post(server, {"inputs": text}).body, texts))
    for one, other in zip(alone, together, strict=True):
        assert json.loads(one) == json.loads(other)


def test_the_log_warns_of_the_embedded_model_and_shows_no_text_and_no_stack_trace(server: LocalServer) -> None:
    post(server, {"input_data": [SECRET]})
    post(server, {"input_data": [SECRET + " [MASK]"]})
    log = server.log.read_text(encoding="utf-8")
    assert len(re.findall(r" W \[\d+\] serving\.\S+ - bert-base-cased is not here", log)) == 1
    assert re.search(r" I \[\d+\] serving\.answering\.service - serving embedded-\S+; ready after [\d.]+ s", log)
    assert SECRET not in log
    assert "Traceback" not in log


def test_a_transfer_coding_that_nobody_knows_is_the_clients_mistake(server: LocalServer) -> None:
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), 60) as connection:
        connection.sendall(b"POST /score HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chnked\r\n\r\n0\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("megabytes", [60, 300])
@pytest.mark.parametrize("path", ["/score", "//score", "/nowhere"])
def test_a_body_of_any_size_is_refused_and_not_kept(
    server: LocalServer, path: str, megabytes: int, chunked: bool
) -> None:
    master = server.process.pid
    [worker] = map(int, Path(f"/proc/{master}/task/{master}/children").read_text(encoding="utf-8").split())
    forget(worker)
    before = held(worker)["rss"]
    connection = http.client.HTTPConnection("127.0.0.1", int(server.url.rsplit(":", 1)[1]), timeout=60)
    headers = {"Content-Type": "application/json"} | ({} if chunked else {"Content-Length": str(megabytes << 20)})
    try:
        connection.request("POST", path, (b" " * (1 << 20) for _ in range(megabytes)), headers, encode_chunked=chunked)
        answer = connection.getresponse()
        told = json.loads(answer.read())["error"]
        assert (answer.status, told["code"]) == (413, "body_too_large")
        assert f"the body has {megabytes << 20} bytes, expected at most 4194304" in told["message"]
    except ConnectionError:
        assert megabytes == 300  # who sends on and on is not heard to the end
    finally:
        connection.close()
    assert held(worker)["peak"] - before < 40 << 20


def test_a_chunk_that_is_none_ends_the_connection_whatever_the_path(server: LocalServer) -> None:
    said = server.log.stat().st_size
    for path in (b"/score", b"//score"):
        with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), 60) as connection:
            connection.sendall(
                b"POST " + path + b" HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n12345678\r\n"
            )
            assert b" 50" not in connection.recv(1 << 16)[:20]
    assert "Traceback" not in server.log.read_text(encoding="utf-8")[said:]


def test_run_is_called_directly_without_a_server() -> None:
    code = (
        "import json, score; score.init(); refused = score.run('{}')\n"
        f"print(json.dumps([score.run(json.dumps({{'input_data': [{PARIS!r}]}})), refused.status_code]))"
    )
    done = subprocess.run([SERVING_PYTHON, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [["capital"], 400]


@pytest.mark.parametrize("preload", ["true", "false"])
def test_every_worker_answers_with_the_folder_that_azure_names(
    sharp_checkpoint: Path, tmp_path: Path, preload: str
) -> None:
    version = tmp_path / "azureml-models" / "my-bert" / "3"
    shutil.copytree(sharp_checkpoint, version / "mlflow_model_folder")
    env = {"WORKER_PRELOAD": preload, "WORKER_COUNT": "2"}
    with local_server(version.parent / "3", python=SERVING_PYTHON, env=env) as server:
        replies = [post(server, {"input_data": ["The [MASK] sat"]}) for _ in range(6)]
        assert {reply.status for reply in replies} == {200}
        assert {reply.headers["x-model-name"] for reply in replies} == {"my-bert"}


@pytest.mark.parametrize(
    ("env", "damage", "message"),
    [
        ({}, lambda folder: (folder / "model.safetensors").unlink(), "expected config.json and model.safetensors"),
        ({"BERT_SERVING_MAX_ROWS": "many"}, lambda folder: None, "BERT_SERVING_MAX_ROWS: expected a whole number"),
    ],
)
def test_a_server_that_cannot_start_says_why(
    checkpoint: Path, tmp_path: Path, env: dict[str, str], damage: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(checkpoint, folder)
    damage(folder)
    with pytest.raises(LocalServerError, match=message), local_server(folder, python=SERVING_PYTHON, env=env):
        pass
