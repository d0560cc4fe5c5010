"""What the serving container runs, run here: the model is compiled, then the inference server answers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from asset.local.server import handed_over

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "environment/serving/start-server"
SERVING = ROOT / ".venv/serving/bin"


@contextmanager
def started(folder: Path, log: Path, **variables: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run the script as the container does, but with an open socket in the place of port 5001 of every address."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AZUREML", "BERT_SERVING"))
    }
    environment |= {"PATH": f"{SERVING}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1", "AML_APP_ROOT": str(folder)}
    environment |= {"GUNICORN_CMD_ARGS": "--threads 256 --no-control-socket", **variables}
    with socket.socket() as listener, log.open("wb") as output:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            handed_over(Path(sys.executable), listener, [shutil.which("sh"), str(SCRIPT), "--port", str(port)]),
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def answer(url: str, body: object) -> object:
    """Send a request; the socket is open from the start, so that it waits until the server is there."""
    request = urllib.request.Request(f"{url}/score", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as reply:
        return json.load(reply)


def test_the_model_is_compiled_before_the_server_starts_and_it_answers(sharp_checkpoint: Path, tmp_path: Path) -> None:
    model = shutil.copytree(sharp_checkpoint, tmp_path / "models/tiny/1", ignore=shutil.ignore_patterns(".compiled"))
    # As Azure ML lays it: the code is a folder below the root of the app.
    (tmp_path / "app").mkdir()
    (tmp_path / "app/checkout").symlink_to(ROOT)
    given = {"AZUREML_MODEL_DIR": str(model), "AZUREML_ENTRY_SCRIPT": "checkout/score.py"}
    log = tmp_path / "log"
    with started(tmp_path / "app", log, BERT_SERVING_PRECISION="fp32", **given) as (process, url):
        found = answer(url, {"input_data": ["The cat sat on the [MASK]."]})
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    assert isinstance(found, list)
    assert len(found) == 1
    text = log.read_text(encoding="utf-8")
    assert text.index(f"compile {model} to fp32") < text.index("Azure ML Inferencing HTTP server")
    assert [path.name[:5] for path in (model / ".compiled").glob("*.onnx")] == ["fp32-"]


def test_a_model_that_cannot_be_served_stops_the_container_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    log = tmp_path / "log"
    given = {"AZUREML_MODEL_DIR": str(tmp_path / "model"), "AZUREML_ENTRY_SCRIPT": "score.py"}
    with started(ROOT, log, **given) as (process, _):
        assert process.wait(timeout=60) == 1
    text = log.read_text(encoding="utf-8")
    assert "expected config.json and model.safetensors" in text
    assert "HTTP server" not in text


def test_a_stop_while_the_model_is_compiled_ends_both_and_leaves_nothing(
    sharp_checkpoint: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(sharp_checkpoint, tmp_path / "model", ignore=shutil.ignore_patterns(".compiled"))
    log = tmp_path / "log"
    given = {"AZUREML_MODEL_DIR": str(model), "AZUREML_ENTRY_SCRIPT": "score.py", "BERT_SERVING_PRECISION": "fp32"}
    with started(ROOT, log, **given) as (process, _):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + 60
        while "read" not in log.read_text(encoding="utf-8"):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
        [compiler] = children.read_text(encoding="utf-8").split()
        process.send_signal(signal.SIGTERM)  # to the shell alone, as a container's engine does
        assert process.wait(timeout=10) == 143
        assert not Path(f"/proc/{compiler}").exists()
    text = log.read_text(encoding="utf-8")
    assert "HTTP server" not in text and "Traceback" not in text
    assert [path.name for path in model.glob(".compiled/unfinished-*")] == []
