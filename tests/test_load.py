"""The inference server under load: batches, a bounded queue, deadlines, a clean end. With the embedded model."""

from __future__ import annotations

import json
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from asset.local.server import REQUEST_THREADS, LocalServer, Reply, local_server
from serving.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
SERVING_PYTHON = ROOT / ".venv/serving/bin/python"
PARIS = "Paris is the [MASK] of France."
LONG = "We walked through the old streets and looked at the houses. " * 4 + PARIS
WARNING = "expected more request threads than"


@contextmanager
def embedded(**env: object) -> Iterator[LocalServer]:
    """Serve the embedded model; a keyword is a variable of its environment."""
    settings = {name.upper(): str(value) for name, value in env.items()}
    with local_server(ROOT / "model/embedded", python=SERVING_PYTHON, env=settings) as server:
        yield server


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with embedded() as server:
        yield server


def post(server: LocalServer, *texts: str) -> tuple[Reply, float]:
    """Return the answer to these texts, and how many seconds it took."""
    start = time.monotonic()
    reply = server.post(json.dumps({"input_data": texts}).encode())
    return reply, time.monotonic() - start


def code(reply: Reply) -> str:
    return json.loads(reply.body)["error"]["code"]


def timing(reply: Reply) -> dict[str, float]:
    """Return the milliseconds of the Server-Timing header by name."""
    return {name: float(value) for name, value in re.findall(r"(\w+);dur=([\d.]+)", reply.headers["Server-Timing"])}


def test_the_answer_says_what_it_took(server: LocalServer) -> None:
    reply, seconds = post(server, PARIS, "Today is a [MASK] day!")
    spent = timing(reply)
    assert set(spent) == {"queue", "tokenize", "compute"}
    assert 0 < spent["compute"] <= sum(spent.values()) < seconds * 1000
    assert spent["queue"] < spent["compute"]
    assert reply.headers["x-batch-rows"] == "2"


def test_requests_at_the_same_time_share_batches(server: LocalServer) -> None:
    with ThreadPoolExecutor(16) as pool:
        replies = [reply for reply, _ in pool.map(lambda _: post(server, PARIS), range(64))]
    assert {reply.body for reply in replies} == {b'["capital"]'}
    assert max(int(reply.headers["x-batch-rows"]) for reply in replies) > 1
    assert max(timing(reply)["queue"] for reply in replies) > 0


def test_one_sentence_does_not_wait_for_a_request_of_a_thousand(server: LocalServer) -> None:
    with ThreadPoolExecutor(1) as pool:
        many = pool.submit(post, server, *[LONG] * 400)
        time.sleep(0.3)
        (one, seconds), still_running = post(server, PARIS), not many.done()
        reply, total = many.result()
    assert (one.status, reply.status, still_running) == (200, 200, True)
    assert seconds < total / 2


def test_a_full_queue_answers_429_at_once_with_the_seconds_to_wait() -> None:
    with embedded(bert_serving_max_queue=2) as server, ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda _: post(server, *[LONG] * 100), range(12)))
        after, _ = post(server, PARIS)
    refused = [(reply, seconds) for reply, seconds in found if reply.status != 200]
    answered = [seconds for reply, seconds in found if reply.status == 200]
    assert len(answered) >= 2 and len(refused) >= 6
    assert {(reply.status, code(reply)) for reply, _ in refused} == {(429, "queue_full")}
    assert all(int(reply.headers["Retry-After"]) >= 1 for reply, _ in refused)
    assert max(seconds for _, seconds in refused) < max(answered)
    assert after.status == 200


def test_what_is_refused_costs_the_server_no_work_of_its_own() -> None:
    with embedded(bert_serving_max_queue=2) as server, ThreadPoolExecutor(2) as pool:
        post(server, PARIS)
        busy = [pool.submit(post, server, *[LONG] * 400) for _ in range(2)]
        time.sleep(0.3)
        refused = [post(server, PARIS)[0] for _ in range(5)]
        assert not any(future.done() for future in busy)
        assert [future.result()[0].status for future in busy] == [200, 200]
        log = server.log.read_text(encoding="utf-8")
    assert {(reply.status, code(reply), reply.headers["x-batch-rows"]) for reply in refused} == {
        (429, "queue_full", "0")
    }
    assert log.count('"status": 429') == 5


def test_a_missed_deadline_is_504_and_what_is_left_is_not_computed() -> None:
    with embedded(bert_serving_deadline_ms=120_000) as server:
        whole, all_seconds = post(server, *[LONG] * 1000)
    with embedded(bert_serving_deadline_ms=300) as server:
        late, seconds = post(server, *[LONG] * 1000)
        # The next request waits for the one batch that was running.
        after, wait = post(server, PARIS)
    assert whole.status == 200
    assert (late.status, code(late)) == (504, "deadline_exceeded")
    assert 0.2 < seconds < all_seconds / 2
    assert (after.status, after.body) == (200, b'["capital"]')
    assert wait < all_seconds / 4


def test_two_preloaded_workers_answer_under_load() -> None:
    with embedded(worker_preload="true", worker_count=2) as server, ThreadPoolExecutor(16) as pool:
        replies = [reply for reply, _ in pool.map(lambda _: post(server, PARIS), range(200))]
        log = server.log.read_text(encoding="utf-8")
    assert {(reply.status, reply.body) for reply in replies} == {(200, b'["capital"]')}
    assert len(set(re.findall(r'"pid": (\d+), .*"status": 200', log))) == 2


def test_sigterm_answers_what_was_accepted_and_nothing_else_and_ends_well() -> None:
    with embedded(bert_serving_deadline_ms=20_000) as server, ThreadPoolExecutor(8) as pool:
        (word,) = json.loads(post(server, LONG)[0].body)
        accepted = [pool.submit(post, server, *[LONG] * 100) for _ in range(8)]
        until = time.monotonic() + 20
        while connections(server) < 8 and time.monotonic() < until:
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        unfinished = sum(not future.done() for future in accepted)
        # gunicorn closes the port when the last worker has ended: until then a new connection is held, then reset.
        with pytest.raises(OSError):
            post(server, PARIS)
        assert server.process.wait(20) == 0
        replies = [future.result()[0] for future in accepted]
    assert {reply.status for reply in replies} == {200}
    assert {reply.body for reply in replies} == {json.dumps([word] * 100).encode()}
    assert unfinished > 0


def connections(server: LocalServer) -> int:
    """Return how many connections the server has accepted and not closed; one that it has not accepted has no inode."""
    port = f":{int(server.url.rsplit(':', 1)[1]):04X}"
    rows = [row.split() for row in Path("/proc/net/tcp").read_text(encoding="utf-8").splitlines()[1:]]
    return sum(row[1].endswith(port) and row[3] == "01" and row[9] != "0" for row in rows)


def resident_bytes(server: LocalServer) -> int:
    """Return the resident memory of the server's one worker."""
    group = server.process.pid
    worker = Path(f"/proc/{group}/task/{group}/children").read_text(encoding="utf-8").split()[0]
    status = Path(f"/proc/{worker}/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024


def test_twice_the_load_is_answered_in_time_or_refused_with_flat_memory() -> None:
    deadline = 1.0
    body = [LONG] * 8
    with embedded(bert_serving_max_queue=24, bert_serving_deadline_ms=1000) as server, ThreadPoolExecutor(200) as pool:
        start = time.monotonic()
        with ThreadPoolExecutor(8) as few:
            assert {reply.status for reply, _ in few.map(lambda _: post(server, *body), range(100))} == {200}
        sustained = 100 / (time.monotonic() - start)
        resident = resident_bytes(server)
        found = [future.result() for future in sent(pool, server, body, rate=2 * sustained, seconds=4)]
        grown = resident_bytes(server) - resident
        after, _ = post(server, PARIS)
    statuses = Counter(reply.status for reply, _ in found)
    assert set(statuses) <= {200, 429, 504}
    # About half of it can be answered; far fewer would be a collapse, and none refused would be no overload.
    assert statuses[200] > len(found) / 5
    assert statuses[429] + statuses[504] > len(found) / 5
    good = sorted(seconds for reply, seconds in found if reply.status == 200)
    assert good[int(len(good) * 0.99)] < deadline
    assert grown < 64 * 1024 * 1024
    assert after.status == 200


def sent(
    pool: ThreadPoolExecutor, server: LocalServer, body: list[str], rate: float, seconds: float
) -> list[Future[tuple[Reply, float]]]:
    """Send requests at a steady rate, however the server keeps up."""
    start = time.monotonic()
    futures = []
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, start + number / rate - time.monotonic()))
        futures.append(pool.submit(post, server, *body))
    return futures


def test_the_server_is_started_with_more_threads_than_the_queue_takes(server: LocalServer) -> None:
    assert REQUEST_THREADS >= 2 * Settings().max_queue
    assert WARNING not in server.log.read_text(encoding="utf-8")


def test_a_server_with_too_few_threads_says_so_and_names_the_fix() -> None:
    with embedded(gunicorn_cmd_args="--threads 4") as server:
        log = server.log.read_text(encoding="utf-8")
    assert log.count(WARNING) == 1
    assert re.search(rf" W \[\d+\] serving\.answering\.service - {WARNING} .* found 4.*--threads 256", log)
