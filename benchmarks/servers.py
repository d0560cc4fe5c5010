"""The servers that are loaded over HTTP, each started on loopback as its users would start it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asset.local.processes import start, stop
from benchmarks.workers import ROOT, environment_of, interpreter

SERVED = Path(__file__).with_name("served")
START_SECONDS = 120.0
TRY_SECONDS = 30.0
"""Seconds of a request while a server starts: a server that loads its model leaves the connection waiting."""

STOP_SECONDS = 5.0
OURS = "ours"
NO_OP = "no-op score.py"
AZUREML = "azureml-inference-server-http + pipeline"
MLFLOW = "MLflow + pipeline"
LITSERVE = "LitServe + pipeline"


class ServerError(RuntimeError):
    """A server did not start; the message has the end of its log."""


@dataclass(frozen=True)
class Server:
    """How to start a server and ask it; {port} in the command is replaced, and `key` has the texts of a request."""

    name: str
    command: Sequence[str]
    path: str
    key: str = "input_data"
    env: Mapping[str, str] = field(default_factory=dict)

    def body(self, text: str) -> str:
        """Return the request for one text."""
        return json.dumps({self.key: [text]})

    def ask(self, port: int, text: str, timeout: float = 60.0) -> tuple[int, bytes]:
        """Send one request; returns the status and the answer. Raises OSError or HTTPException without an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        try:
            connection.request("POST", self.path, self.body(text), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@dataclass(frozen=True)
class Running:
    """A server that answers: its URL and port, its process, and the seconds from its start to its first answer."""

    url: str
    port: int
    process: subprocess.Popen[bytes]
    first_answer_seconds: float

    def resident_mb(self) -> float:
        """Return the resident memory of the process that serves: the largest descendant of the started process."""
        import psutil

        tree = psutil.Process(self.process.pid).children(recursive=True)
        sizes = []
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                sizes.append(process.memory_info().rss)
        return max(sizes, default=0) / 1e6


def local_servers(model: Path, cache: Path) -> dict[str, Server]:
    """Return our server of a model folder, and the one that does nothing, by name."""
    env = {"AZUREML_MODEL_DIR": str(model), "BERT_SERVING_CACHE_DIR": str(cache / "ours")}
    local = [str(interpreter("serving")), "-m", "asset.local.server", "serve", "--port", "{port}"]
    return {
        OURS: Server(OURS, local, "/score", env=env),
        NO_OP: Server(NO_OP, [*local, "--entry-script", str(SERVED / "no_op/score.py")], "/score", env=env),
    }


def servers(model: Path, cache: Path, threads: int) -> dict[str, Server]:
    """Return the servers of a model folder by name."""
    ours = local_servers(model, cache)
    local = ours[OURS].command
    env = {**ours[OURS].env, "BENCHMARK_THREADS": str(threads), "MLFLOW_DISABLE_TELEMETRY": "true"}
    bench = str(interpreter("bench"))
    # As shipped: without threads, gunicorn's workers are of the kind that take one request at a time.
    as_shipped = {**env, "GUNICORN_CMD_ARGS": "--threads 1 --worker-class sync"}
    azureml = ["--python", str(interpreter("bench-azureml")), "--entry-script", str(SERVED / "pipeline/score.py")]
    mlflow = [str(Path(bench).parent / "mlflow"), "models", "serve", "--model-uri", str(cache / "mlflow")]
    mlflow += ["--host", "127.0.0.1", "--port", "{port}", "--env-manager", "local"]
    # MLflow starts `uvicorn` by that name.
    mlflow_env = {**env, "PATH": f"{Path(bench).parent}:{os.environ.get('PATH', '')}"}
    all_servers = [
        *ours.values(),
        Server(AZUREML, [*local, *azureml], "/score", env=as_shipped),
        Server(MLFLOW, [bench, *mlflow], "/invocations", "inputs", env=mlflow_env),
        Server(LITSERVE, [bench, str(SERVED / "litserve_app.py"), "{port}"], "/predict", env=env),
    ]
    return {server.name: server for server in all_servers}


def save_for_mlflow(model: Path, cache: Path, threads: int, log: Path) -> None:
    """Save a checkpoint as an MLflow model on the first call; raises ServerError if that fails."""
    folder, partial = cache / "mlflow", cache / "mlflow.partial"
    if folder.is_dir():
        return
    shutil.rmtree(partial, ignore_errors=True)
    command = [str(interpreter("bench")), str(SERVED / "mlflow_model.py"), str(model), str(partial)]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        done = subprocess.run(command, env=environment_of(threads), stdout=output, stderr=output, check=False)
    if done.returncode:
        raise ServerError(f"could not save the model for MLflow: {_end(log)}")
    partial.rename(folder)


@contextlib.contextmanager
def running(server: Server, text: str, threads: int, log: Path) -> Iterator[Running]:
    """Start a server, wait for its first answer to `text`, and stop it with the block; raises ServerError."""
    port = _free_port()
    command = [part.format(port=port) if part == "{port}" else part for part in server.command]
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with log.open("wb") as output:
        process = start(command, folder=ROOT, variables=environment_of(threads, server.env), output=output)
    try:
        _first_answer(process, port, server, text, log)
        yield Running(f"http://127.0.0.1:{port}{server.path}", port, process, time.perf_counter() - began)
    finally:
        stop([process], ((signal.SIGINT, STOP_SECONDS),))


def _first_answer(process: subprocess.Popen[bytes], port: int, server: Server, text: str, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise ServerError(f"{server.name} stopped with status {process.returncode}: {_end(log)}")
        try:
            status, content = server.ask(port, text, TRY_SECONDS)
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
            continue
        if status == http.HTTPStatus.OK:
            return
        if status != http.HTTPStatus.SERVICE_UNAVAILABLE:
            raise ServerError(f"{server.name}: expected status 200, found {status}: {content[:300]!r}")
        time.sleep(0.02)
    raise ServerError(f"{server.name}: expected an answer within {START_SECONDS:g} s, found none: {_end(log)}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _end(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().split("\n")
    return " | ".join(lines[-3:]) + f" (whole log: {log})"
