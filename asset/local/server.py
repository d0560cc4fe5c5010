"""Microsoft's inference server on score.py, on this machine and on loopback only.

    python -m asset.local.server score    answer sample_input.json once; the answer is the last line printed
    python -m asset.local.server serve    keep the server running until Ctrl-C

Both commands run in the environment of the serving image (`make score` and `make serve` set it up), so this module needs
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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

from asset.local.processes import start, stop

ROOT = Path(__file__).resolve().parents[2]
SERVING_PYTHON = ROOT / ".venv/serving/bin/python"

# Requests that a server process takes from gunicorn at a time. gunicorn holds the rest, out of reach of the queue bound and
# of deadlines. So the number covers the requests that may queue (BERT_SERVING_MAX_QUEUE) and as many again: requests that
# are refused, slow senders, and the health probe.
REQUEST_THREADS = 256

# Environment variables that a server gets unless the caller sets them; environment/serving/start-server sets the same in an
# image. Without the first, gunicorn takes a SCRIPT_NAME header of any client on loopback for a proxy's, and answers 500 if it
# does not match the path. Without the second, glibc keeps freed memory in eight arenas per CPU, each as large as the
# largest request that it served.
DEFAULTS = {"FORWARDED_ALLOW_IPS": "", "MALLOC_ARENA_MAX": "2"}

# The inference server's default port, and gunicorn's default backlog.
SERVE_PORT = 5001
BACKLOG = 2048
STARTUP_SECONDS = 120.0
STOP_SECONDS = 5.0
LOG_LINES_SHOWN = 25
LOG_BYTES_READ = 64 * 1024

# The inference server always passes 0.0.0.0 to gunicorn as an argument, which takes precedence over GUNICORN_CMD_ARGS. But
# gunicorn uses a socket that is already open, if it is handed over as systemd does: as descriptor 3, with the process id in
# the environment. So the server listens on loopback only, and no other process can take the port in between.
# When the process that started the server ends, the kernel sends SIGINT (2), which is gunicorn's quick stop. A shell may have
# set SIGINT to be ignored in a background process.
HAND_OVER_SOCKET = """
import ctypes, os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
ctypes.CDLL(None).prctl(1, signal.SIGINT)
if os.getppid() != int(sys.argv[2]):
    sys.exit("the process that starts the server has ended")
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_FDS"], os.environ["LISTEN_PID"] = "1", str(os.getpid())
os.execv(sys.argv[3], sys.argv[3:])
"""

# Requests to loopback must not go through a proxy that the environment names.
_without_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class LocalServerError(RuntimeError):
    """The server cannot start, did not become healthy, or stopped."""


def start_server(
    python: Path,
    script: Path,
    variables: Mapping[str, str],
    listener: socket.socket,
    output: IO[bytes],
    options: Sequence[str] = (),
) -> subprocess.Popen[bytes]:
    """Start the inference server of an environment on a scoring script. It takes its connections from an open socket.

    The server ends when this process or the thread that started it ends.

    Raises:
        LocalServerError: the environment has no inference server, or there is no such script.
    """
    installed = python.parent / "azmlinfsrv"
    if not installed.is_file():
        raise LocalServerError(f"there is no inference server {installed}; set it up with `make score`")
    if not script.is_file():
        raise LocalServerError(f"there is no scoring script {script}; name an existing script")
    # Run azmlinfsrv through the interpreter: its own first line breaks if the environment is moved or its path is long.
    command = [str(python), str(installed), "--entry_script", str(script.absolute()), *options]
    return start(
        handed_over(python, listener, command),
        folder=Path(variables["AML_APP_ROOT"]),
        variables=variables,
        output=output,
        pass_fds=[listener.fileno()],
    )


def handed_over(python: Path, listener: socket.socket, command: Sequence[str]) -> list[str]:
    """Return a command that runs another command with a listening socket as its descriptor 3."""
    return [str(python), "-ISc", HAND_OVER_SOCKET, str(listener.fileno()), str(os.getpid()), *command]


def server_variables(
    base: Mapping[str, str], app_root: Path | str, model: Path | str | None, gunicorn_options: str
) -> dict[str, str]:
    """Return the environment variables of a server: those of `base`, defaults for those that it lacks, and its settings."""
    # Without --no-control-socket all servers of this user share one control socket in the home folder.
    options = f"--no-control-socket {gunicorn_options}".strip()
    variables = {**DEFAULTS, **base, "GUNICORN_CMD_ARGS": options, "AML_APP_ROOT": str(app_root)}
    if model is not None:
        variables["AZUREML_MODEL_DIR"] = str(model)
    return variables


def how_it_ended(status: int) -> str:
    """Return the exit status of a process in words: "status 3", "SIGKILL", "signal 35"."""
    if status >= 0:
        return f"status {status}"
    # Of the real-time signals, only the first and the last have names.
    return next((number.name for number in signal.Signals if number == -status), f"signal {-status}")


def with_end_of_log(text: str, log: Path, begin: int = 0) -> str:
    """Return a message with the last lines that were written to a log after its byte `begin`."""
    shown: list[str] = []
    # A log that is gone must not hide the message.
    with contextlib.suppress(OSError), open(log, "rb") as file:
        file.seek(max(begin, os.fstat(file.fileno()).st_size - LOG_BYTES_READ))
        shown = file.read().decode(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
    return f"{text}. The end of its log ({log}):\n" + "\n".join(shown)


@dataclass(frozen=True)
class Reply:
    """An HTTP answer of any status."""

    status: int
    headers: email.message.Message
    body: bytes


@dataclass(frozen=True)
class LocalServer:
    """A running server: its address, its process (which leads a group of its own) and its log."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def post(self, body: bytes, timeout: float = 60.0) -> Reply:
        """POST a JSON body to /score and return the answer, also an error.

        Raises:
            OSError: no answer came within `timeout` seconds.
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
        return LocalServerError(with_end_of_log(text, self.log))

    def wait_until_healthy(self, seconds: float) -> None:
        """Wait until the server answers for the first time.

        Raises:
            LocalServerError: the server ended, or did not answer in time.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status = self.process.poll()
            if status is not None:
                raise self.failure(f"the inference server stopped with {how_it_ended(status)} before it was healthy")
            # The socket is open from the start, so this request is answered as soon as there is a worker. It is given up
            # after a second, to check if the server still runs.
            with contextlib.suppress(OSError, http.client.HTTPException):
                _without_proxy.open(self.url, timeout=1.0).close()
                return
            time.sleep(0.02)
        raise self.failure(f"the inference server was not healthy within {seconds:.0f} s")


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
    """Start the inference server, wait until it is healthy, and at the end stop it and its workers.

    Args:
        model: the model folder. Default: AZUREML_MODEL_DIR, else score.py's own rule.
        python: the interpreter of the environment to serve from. Default: this one if it has the server, else .venv/serving's.
        env: environment variables to add to those of this process.
        port: the port on 127.0.0.1; 0 takes a free port.
        entry_script: the scoring script; its folder becomes the root of the app.
        startup_seconds: how long the server may take until it is healthy, which includes loading the model.

    Yields:
        The server. If the body of the `with` statement fails, the server's log is kept.

    Raises:
        LocalServerError: something is missing, the port is taken, or the server did not become healthy.
    """
    python = python or _serving_python()
    if model is not None and not model.is_dir():
        raise LocalServerError(f"there is no model folder {model}; name a folder, such as model/embedded")
    base = os.environ | dict(env or {})
    options = f"--threads {REQUEST_THREADS} {base.get('GUNICORN_CMD_ARGS', '')}"
    variables = server_variables(base, entry_script.parent.resolve(), model and model.resolve(), options)
    descriptor, log = tempfile.mkstemp(prefix="azmlinfsrv-", suffix=".log")
    # A server that died must refuse connections, so this process closes the socket once it is handed over.
    with open(descriptor, "wb") as output, listen_on_loopback(port) as listener:
        port = listener.getsockname()[1]
        process = start_server(python, entry_script, variables, listener, output, ["--port", str(port)])
    server = LocalServer(f"http://127.0.0.1:{port}", process, Path(log))
    try:
        server.wait_until_healthy(startup_seconds)
        yield server
        server.log.unlink(missing_ok=True)
    finally:
        # SIGINT is gunicorn's quick stop: it tells the workers to quit and waits for them.
        stop([server.process], [(signal.SIGINT, STOP_SECONDS)])


def _serving_python() -> Path:
    this = Path(sys.executable)
    return this if (this.parent / "azmlinfsrv").is_file() or not SERVING_PYTHON.exists() else SERVING_PYTHON


def listen_on_loopback(port: int) -> socket.socket:
    """Return a socket that listens on a port of 127.0.0.1; 0 takes a free port.

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
            f"port {port} of 127.0.0.1 cannot be used: {exc.strerror}; choose another, such as PORT=5002 make serve, or "
            "asset serve --port 5002"
        ) from exc
    return listener


def score(starting: contextlib.AbstractContextManager[LocalServer], request: Path) -> None:
    """Start a server, send it a request file, and print the answer as one line; progress goes to standard error.

    Raises:
        LocalServerError: the server did not start, or answered with another status than 200.
        OSError: the request file cannot be read, or no answer came.
    """
    body = request.read_bytes()
    started = time.monotonic()
    with starting as server:
        _progress(f"healthy after {time.monotonic() - started:.1f} s; sending {request.name}")
        reply = server.post(body)
        answer = reply.body.decode("utf-8", errors="replace")
        if reply.status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
            raise server.failure(f"the server answered with status {reply.status}: {answer.strip()}")
        if reply.status != http.HTTPStatus.OK:
            raise LocalServerError(f"the server refused {request} with status {reply.status}: {answer.strip()}")
    _progress(f"answered by {reply.headers.get('x-model-name', 'an unnamed model')}")
    sys.stdout.write(json.dumps(json.loads(answer), ensure_ascii=False) + "\n")


def serve(starting: contextlib.AbstractContextManager[LocalServer], request: Path) -> None:
    """Start a server, print how to send it the request file's content, and keep it running until Ctrl-C.

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
        raise server.failure(f"the inference server stopped by itself with {how_it_ended(status)}")


def _progress(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _interrupt(signal_number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status: 0, 1 for an error, 130 if it was interrupted before it served."""
    parser = argparse.ArgumentParser(prog="python -m asset.local.server", description=__doc__.split("\n")[0])
    parser.add_argument("action", choices=["score", "serve"], help="answer one request, or keep the server running")
    parser.add_argument("--model", type=Path, help="the model folder; default: AZUREML_MODEL_DIR, else score.py's rule")
    parser.add_argument("--request", type=Path, default=ROOT / "sample_input.json", help="a file with a request body")
    parser.add_argument("--port", type=int, default=SERVE_PORT, help="the port for `serve`; 0 takes a free port")
    parser.add_argument(
        "--python", type=Path, help="the interpreter to serve from; default: this one, else that of .venv/serving"
    )
    parser.add_argument("--entry-script", type=Path, default=ROOT / "score.py", help="the script to serve")
    options = parser.parse_args(arguments)
    # SIGTERM and a closed terminal stop the server as Ctrl-C does. Under nohup, SIGHUP stays ignored.
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
