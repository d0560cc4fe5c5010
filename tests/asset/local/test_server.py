"""Microsoft's inference server runs here on a script of ours, on loopback only, and leaves nothing behind."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from asset.local import server as module
from asset.local.server import LocalServer, LocalServerError, local_server

ROOT = Path(__file__).resolve().parents[3]

SCRIPT = """
import json, os, time

def init():
    pass

def run(raw_data):
    request = json.loads(raw_data)
    time.sleep(request.get("sleep", 0))
    return {"echo": request, "model": os.environ.get("AZUREML_MODEL_DIR"), "set": os.environ.get("SETTING")}
"""


@pytest.fixture(scope="module", autouse=True)
def _logs_of_failures_go_with_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        folder = str(tmp_path_factory.mktemp("logs"))
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an app whose path has a space in it, with a script that answers what it was sent."""
    folder = tmp_path_factory.mktemp("an app")
    (folder / "score.py").write_text(SCRIPT, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[LocalServer]:
    """Keep one server for the tests that only send requests."""
    with local_server(folder, entry_script=folder / "score.py", env={"SETTING": "kept"}) as server:
        yield server


def port_of(server: LocalServer) -> int:
    return int(server.url.rsplit(":", 1)[1])


def group_is_gone(group: int) -> bool:
    """Return whether no process of a group is left, after a moment for processes that have just ended."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def run_command(*arguments: str, script: str = "") -> subprocess.Popen[str]:
    """Start the command as `make` does, with the scoring script of a test."""
    command = [sys.executable, "-m", "asset.local.server", *arguments]
    if script:
        command += ["--entry-script", script]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_answers_with_the_model_folder_and_settings_it_was_given(server: LocalServer, folder: Path) -> None:
    reply = server.post(b'{"a": 1}')
    assert reply.status == 200
    assert json.loads(reply.body) == {"echo": {"a": 1}, "model": str(folder), "set": "kept"}
    assert reply.headers["x-ms-server-version"].startswith("azmlinfsrv/1.5.")


def test_an_error_status_is_an_answer(server: LocalServer) -> None:
    assert server.post(b"not json").status == 500


def test_a_proxy_header_of_a_client_is_ignored(server: LocalServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=60)
    connection.request("GET", "/", headers={"SCRIPT_NAME": "/x"})
    assert connection.getresponse().status == 200
    connection.close()


def test_requests_run_at_the_same_time(server: LocalServer) -> None:
    statuses: list[int] = []
    senders = [
        threading.Thread(target=lambda: statuses.append(server.post(b'{"sleep": 0.5}').status)) for _ in range(16)
    ]
    started = time.monotonic()
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert statuses == [200] * 16
    # One after the other they would take at least 8 s.
    assert time.monotonic() - started < 8


def test_listens_on_loopback_only(server: LocalServer) -> None:
    socket.create_connection(("127.0.0.1", port_of(server)), timeout=5).close()
    # A socket on 0.0.0.0 would answer on every address of this machine, the rest of 127.0.0.0/8 among them.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port_of(server)), timeout=5)


def test_the_server_of_this_environment_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
    (tmp_path / "with" / "azmlinfsrv").touch()
    found = []
    for folder in ("with", "without"):
        monkeypatch.setattr(sys, "executable", str(tmp_path / folder / "python"))
        found.append(module._serving_python())
    assert found == [tmp_path / "with" / "python", module.SERVING_PYTHON]


def test_a_proxy_of_the_environment_is_not_used(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert server.post(b"{}").status == 200


def test_stops_with_its_workers_and_log(folder: Path) -> None:
    with local_server(entry_script=folder / "score.py") as server:
        assert server.log.exists()
    assert group_is_gone(server.process.pid)
    assert not server.log.exists()


def test_a_failure_in_the_body_stops_it_and_keeps_the_log(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError), local_server(entry_script=folder / "score.py") as server:
        raise ZeroDivisionError
    assert group_is_gone(server.process.pid)
    assert server.log.exists()


def test_a_taken_port_is_named_with_a_way_out(server: LocalServer, folder: Path) -> None:
    port = port_of(server)
    with pytest.raises(LocalServerError, match=f"port {port} .*Address already in use; choose another"):
        with local_server(entry_script=folder / "score.py", port=port):
            pass


def test_a_script_that_fails_shows_the_end_of_the_log(tmp_path: Path) -> None:
    script = tmp_path / "score.py"
    script.write_text("def init():\n    raise OSError('no such weights')\ndef run(data):\n    pass\n", encoding="utf-8")
    with pytest.raises(LocalServerError) as caught, local_server(entry_script=script):
        pass
    assert "stopped with status 3 before it was healthy" in str(caught.value)
    assert "no such weights" in str(caught.value)


def test_a_script_that_never_finishes_loading_is_given_up(tmp_path: Path) -> None:
    script = tmp_path / "score.py"
    script.write_text("import time\ndef init():\n    time.sleep(60)\ndef run(data):\n    pass\n", encoding="utf-8")
    started = time.monotonic()
    with pytest.raises(LocalServerError, match="was not healthy within 2 s"):
        with local_server(entry_script=script, startup_seconds=2.0):
            pass
    assert time.monotonic() - started < 2 + module.STOP_SECONDS + 2


@pytest.mark.parametrize("missing", ["model", "python", "entry_script"])
def test_a_missing_file_is_named(tmp_path: Path, folder: Path, missing: str) -> None:
    given = {"entry_script": folder / "score.py", missing: tmp_path / "absent/it"}
    with pytest.raises(LocalServerError, match=r"there is no .*absent.*; (name|set it up)"), local_server(**given):
        pass


def test_score_writes_the_answer_as_its_last_line(folder: Path, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text('{\n "text": "café"\n}', encoding="utf-8")
    process = run_command("score", "--model", str(folder), "--request", str(request), script=str(folder / "score.py"))
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == json.dumps({"echo": {"text": "café"}, "model": str(folder), "set": None}, ensure_ascii=False) + "\n"
    assert "healthy after" in err


def test_score_fails_on_a_refused_request(folder: Path, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text("[", encoding="utf-8")
    process = run_command("score", "--request", str(request), script=str(folder / "score.py"))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert "the server answered with status 500" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_serve_prints_a_curl_line_that_works_and_stops_cleanly(folder: Path, number: signal.Signals) -> None:
    process = run_command("serve", "--port", "0", script=str(folder / "score.py"))
    assert process.stdout is not None
    try:
        lines = [process.stdout.readline() for _ in range(3)]
        answer = subprocess.run(shlex.split(lines[1]), capture_output=True, text=True, check=True, timeout=60)
        sample = json.loads((ROOT / "sample_input.json").read_text(encoding="utf-8"))
        assert json.loads(answer.stdout)["echo"] == sample
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
        assert len(children) == 1
        process.send_signal(number)
        assert process.wait(timeout=30) == 0
        assert group_is_gone(int(children[0]))
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_stops_cleanly_while_the_model_is_loaded(tmp_path: Path, number: signal.Signals) -> None:
    script, loading = tmp_path / "score.py", tmp_path / "loading"
    script.write_text(
        f"import pathlib, time\ndef init():\n    pathlib.Path({str(loading)!r}).touch()\n    time.sleep(60)\n"
        "def run(raw_data):\n    pass\n",
        encoding="utf-8",
    )
    process = run_command("serve", "--port", "0", script=str(script))
    try:
        deadline = time.monotonic() + 60
        while not loading.exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        [child] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 130  # it never served
        assert "Traceback" not in err
        assert group_is_gone(int(child))
    finally:
        process.kill()
        process.communicate()


def test_serve_says_that_the_server_died(folder: Path) -> None:
    process = run_command("serve", "--port", "0", script=str(folder / "score.py"))
    assert process.stdout is not None
    process.stdout.readline()
    child = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()[0]
    os.kill(int(child), signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "stopped by itself" in err


def test_make_score_ends_with_the_answer_to_the_sample() -> None:
    started = time.monotonic()
    result = subprocess.run(["make", "score"], capture_output=True, text=True, check=False, cwd=ROOT, timeout=300)
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout.splitlines()[-1])
    assert len(answer) == 2
    assert all(isinstance(token, str) for token in answer)
    # Well over the 2 s it takes here, far below what a second set-up of the environment would.
    assert time.monotonic() - started < 20
