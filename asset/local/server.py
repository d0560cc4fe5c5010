"""Run Microsoft's inference server on score.py here, on loopback only.

    python -m asset.local.server score    answer sample_input.json once; the answer is the last line printed
    python -m asset.local.server serve    keep the server running until Ctrl-C

Both run from the environment of the serving image (`make score` and `make serve` set it up), so this module needs
only packages of that environment. From Python:

    with local_server(Path("model/embedded")) as server:
        reply = server.post(b'{"input_data": ["Paris is the [MASK] of France."]}')   # reply.body == b'["capital"]'

Errors:
    RuntimeError
    └── LocalServerError    the server cannot start, did not become healthy, or stopped; the message says what to do
"""

from __future__ import annotations

import argparse
import contextlib
import email.message
import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from asset.local.processes import start, stop

ROOT = Path(__file__).resolve().parents[2]
SERVING_PYTHON = ROOT / ".venv/serving/bin/python"

# Requests that one process takes from gunicorn at a time, which holds the rest where neither the queue bound nor a
# deadline reaches them: so those that may queue (BERT_SERVING_MAX_QUEUE), and as many again for those that are refused,
# for slow senders and for the health probe.
REQUEST_THREADS = 256

# What a server has in its environment where nobody says otherwise, as environment/serving/start-server in an image.
# gunicorn would take SCRIPT_NAME from any client of loopback for a proxy's, and answer 500 where it is not the path's. glibc
# would keep memory that was freed in eight arenas a CPU, each of which grows to what its hungriest request took.
DEFAULTS = {"FORWARDED_ALLOW_IPS": "", "MALLOC_ARENA_MAX": "2"}

# The inference server's own port, and gunicorn's own backlog.
SERVE_PORT = 5001
BACKLOG = 2048
STARTUP_SECONDS = 120.0
QUICK_STOP = ((signal.SIGINT, 5.0),)
LOG_LINES_SHOWN = 25

# The server always asks gunicorn for 0.0.0.0, and what is asked for on the command line wins over GUNICORN_CMD_ARGS.
# gunicorn does take a socket that is already open, if it is handed over as systemd does it: as descriptor 3, with the
# process id in the environment. So it listens on loopback alone, and nobody can take the port in between.
HAND_OVER_SOCKET = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_FDS"], os.environ["LISTEN_PID"] = "1", str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""

# A proxy that the environment names is not for requests to loopback.
_without_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class LocalServerError(RuntimeError):
    """The server cannot start, did not become healthy, or stopped."""


@dataclass(frozen=True)
class Reply:
    """An HTTP answer of any status."""

    status: int
    headers: email.message.Message
    body: bytes


@dataclass(frozen=True)
class LocalServer:
    """A server that is up: where it listens, its process (the leader of a group of its own) and its log."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def post(self, body: bytes, timeout: float = 60.0) -> Reply:
        """POST a JSON body to /score and return the answer, an error's too.

        Raises:
            OSError: no answer came within timeout seconds.
        """
        request = urllib.request.Request(f"{self.url}/score", body, {"Content-Type": "application/json"})
        try:
            with _without_proxy.open(request, timeout=timeout) as answer:
                return Reply(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, error.headers, error.read())

    def failure(self, text: str) -> LocalServerError:
        """Return an error with the last lines of the log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return LocalServerError(
            f"{text}. The end of its log:\n" + "\n".join(lines) + f"\nMend what it names (all of it: {self.log})"
        )


@contextlib.contextmanager
def local_server(
    model: Path | None = None,
    *,
    python: Path | None = None,
    env: Mapping[str, str] | None = None,
    port: int = 0,
    entry_script: Path = ROOT / "score.py",
    startup_seconds: float = STARTUP_SECONDS,
) -> Iterator[LocalServer]:
    """Start the inference server, wait until it is healthy, and stop it and its workers at the end.

    Args:
        model: the model folder; without it AZUREML_MODEL_DIR decides, and without that score.py's own rule.
        python: the interpreter of the environment to serve from; this one where it has the server, else .venv/serving's.
        env: settings that are added to the environment of this process.
        port: the port on 127.0.0.1; 0 takes a free one.
        entry_script: the scoring script; its folder becomes the root of the app.
        startup_seconds: how long loading the model may take.

    Yields:
        The server. Its log is kept where the body of the `with` statement fails.

    Raises:
        LocalServerError: something it needs is missing, the port is taken, or it did not become healthy.
    """
    python = python or _serving_python()
    command = server_command(python, entry_script)
    environment = _environment(os.environ | dict(env or {}), model, entry_script.parent)
    with listen_on_loopback(port) as listener:
        port = listener.getsockname()[1]
        # A server that died must refuse connections, so this process lets go of the socket once it is handed over.
        server = _start(python, [*command, "--port", str(port)], environment, listener)
    try:
        _wait_until_healthy(server, startup_seconds)
        yield server
        server.log.unlink(missing_ok=True)
    finally:
        # gunicorn's quick stop: workers are told to quit and waited for.
        stop([server.process], QUICK_STOP)


def _serving_python() -> Path:
    this = Path(sys.executable)
    return this if (this.parent / "azmlinfsrv").is_file() or not SERVING_PYTHON.exists() else SERVING_PYTHON


def server_command(python: Path, entry_script: Path) -> list[str]:
    """Return the command that runs the inference server of an environment on a script.

    Raises:
        LocalServerError: the environment has no server, or there is no such script.
    """
    script = python.parent / "azmlinfsrv"
    for path, fix in ((script, "set it up with `make score`"), (entry_script, "name one that is there")):
        if not path.is_file():
            raise LocalServerError(f"expected the file {path}, found none; {fix}")
    # Through the interpreter: a script's own first line breaks when its environment is moved or its path is long.
    return [str(python), str(script), "--entry_script", str(entry_script)]


def _environment(base: Mapping[str, str], model: Path | None, app_root: Path) -> dict[str, str]:
    environment = {**DEFAULTS, **base}
    # The control socket would be one file in the home folder for every server on this machine.
    options = f"--threads {REQUEST_THREADS} --no-control-socket"
    environment["GUNICORN_CMD_ARGS"] = f"{options} {base.get('GUNICORN_CMD_ARGS', '')}".strip()
    environment["AML_APP_ROOT"] = str(app_root.resolve())
    if model is not None:
        if not model.is_dir():
            raise LocalServerError(f"expected a model folder, found none at {model}; name one, as in model/embedded")
        environment["AZUREML_MODEL_DIR"] = str(model.resolve())
    return environment


def listen_on_loopback(port: int) -> socket.socket:
    """Return a socket that listens on a port of 127.0.0.1; 0 takes a free one.

    Raises:
        LocalServerError: the port is taken.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(BACKLOG)
    except OSError as exc:
        listener.close()
        raise LocalServerError(
            f"expected port {port} of 127.0.0.1 to be free, found: {exc.strerror}; choose another, "
            "as in PORT=5002 make serve, or asset serve --port 5002"
        ) from exc
    return listener


def _start(python: Path, command: list[str], environment: dict[str, str], listener: socket.socket) -> LocalServer:
    descriptor, log = tempfile.mkstemp(prefix="azmlinfsrv-", suffix=".log")
    with open(descriptor, "wb") as log_file:
        process = start(
            [str(python), "-ISc", HAND_OVER_SOCKET, str(listener.fileno()), *command],
            folder=Path(environment["AML_APP_ROOT"]),
            variables=environment,
            output=log_file,
            pass_fds=[listener.fileno()],
        )
    return LocalServer(f"http://127.0.0.1:{listener.getsockname()[1]}", process, Path(log))


def _wait_until_healthy(server: LocalServer, startup_seconds: float) -> None:
    deadline = time.monotonic() + startup_seconds
    while time.monotonic() < deadline:
        status = server.process.poll()
        if status is not None:
            raise server.failure(f"the inference server stopped with status {status} before it was healthy")
        # The socket is open from the start, so the first request is answered the moment a worker is there; it is
        # given up each second to see whether the server still runs.
        with contextlib.suppress(OSError, http.client.HTTPException):
            _without_proxy.open(server.url, timeout=1.0).close()
            return
        time.sleep(0.02)
    raise server.failure(f"expected the inference server to be healthy within {startup_seconds:.0f} s, found it is not")


def score(starting: contextlib.AbstractContextManager[LocalServer], request: Path) -> None:
    """Start a server, send a request file once and write the answer to standard output as one line; progress goes to stderr.

    Raises:
        LocalServerError: the server did not start, or answered with anything but 200.
        OSError: the request file cannot be read, or no answer came.
    """
    body = request.read_bytes()
    started = time.monotonic()
    with starting as server:
        _progress(f"healthy after {time.monotonic() - started:.1f} s; sending {request.name}")
        reply = server.post(body)
        answer = reply.body.decode("utf-8", errors="replace")
        if reply.status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
            raise server.failure(f"expected status 200, found {reply.status}: {answer.strip()}")
        if reply.status != http.HTTPStatus.OK:
            raise LocalServerError(f"expected status 200, found {reply.status}: {answer.strip()}; correct {request}")
    _progress(f"answered by {reply.headers.get('x-model-name', 'an unnamed model')}")
    sys.stdout.write(json.dumps(json.loads(answer), ensure_ascii=False) + "\n")


def serve(starting: contextlib.AbstractContextManager[LocalServer], request: Path) -> None:
    """Start a server and keep it running until it is interrupted; say how to send it the request file's content.

    Raises:
        LocalServerError: the server did not start, or stopped by itself.
        OSError: the request file cannot be read.
    """
    sample = json.dumps(json.loads(request.read_bytes()), ensure_ascii=False)
    with starting as server:
        sys.stdout.write(
            f"Serving at {server.url}/score, on this machine only. Its log is {server.log}. Try, in another terminal:\n"
            f"curl -sS -H 'Content-Type: application/json' -d {shlex.quote(sample)} {server.url}/score\n"
            "Ctrl-C stops it.\n"
        )
        sys.stdout.flush()
        try:
            status = server.process.wait()
        except KeyboardInterrupt:
            _progress("stopping")
            return
        raise server.failure(f"the inference server stopped by itself with status {status}")


def _progress(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status: 0, 1 for an error, 130 where `score` was interrupted."""
    parser = argparse.ArgumentParser(prog="python -m asset.local.server", description=__doc__.split("\n")[0])
    parser.add_argument("action", choices=["score", "serve"], help="answer one request, or keep the server running")
    parser.add_argument("--model", type=Path, help="the model folder; default: AZUREML_MODEL_DIR, else score.py's rule")
    parser.add_argument("--request", type=Path, default=ROOT / "sample_input.json", help="a file with a request body")
    parser.add_argument("--port", type=int, default=SERVE_PORT, help="where `serve` listens; 0 takes a free port")
    parser.add_argument(
        "--python", type=Path, help="the interpreter to serve from; default: this one, else that of .venv/serving"
    )
    parser.add_argument("--entry-script", type=Path, default=ROOT / "score.py", help="the script to serve")
    options = parser.parse_args(arguments)
    # A stop by another program, or a closed terminal, is as orderly as Ctrl-C. Under nohup a hang-up stays ignored.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        port = options.port if options.action == "serve" else 0
        starting = local_server(options.model, python=options.python, port=port, entry_script=options.entry_script)
        _progress(f"starting the inference server on {options.entry_script.name}")
        (serve if options.action == "serve" else score)(starting, options.request)
    except (LocalServerError, OSError, ValueError) as exc:
        sys.stderr.write(f"{exc}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
