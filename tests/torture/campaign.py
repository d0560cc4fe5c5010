"""Run an attack's cases in worker processes, and judge what they report.

A case that takes longer than its bound, more memory, or the process with it, is a failure, and the next case has a new
process.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.torture.attack import EVERY, Kind
from tests.torture.worker import held

ROOT = Path(__file__).resolve().parents[2]
STARTUP_SECONDS = 180.0
WATCH_SECONDS = 0.05
LOG_SHOWN = 2000

Failed = Callable[["Failure"], None]


@dataclass(frozen=True)
class Failure:
    """A case whose end was not what is documented, and what happened."""

    kind: str
    case: int | None
    what: str
    seed: int

    @property
    def reproduce(self) -> str:
        """Return the command that does it again."""
        if self.case is None:
            return f"make torture ARGS='--only {self.kind} --seed {self.seed}'"
        return f"make torture ARGS='--reproduce {self.kind}:{self.case} --seed {self.seed}'"


@dataclass
class Result:
    """What an attack came to."""

    kind: str
    inputs: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    slowest: tuple[float, int] = (0.0, 0)
    hungriest: tuple[int, int] = (0, 0)
    grown: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it for the summary, with the bounds that it was held to."""
        kind = EVERY[self.kind]
        return {
            "inputs": self.inputs,
            "seconds": round(self.seconds, 1),
            "outcomes": dict(self.outcomes.most_common()),
            "failures": [vars(failure) | {"reproduce": failure.reproduce} for failure in self.failures],
            "slowest_case": {"seconds": round(self.slowest[0], 3), "case": self.slowest[1]},
            "hungriest_case": {"bytes": self.hungriest[0], "case": self.hungriest[1]},
            "growth_of_a_process": self.grown,
            "bounds": {**kind.bounds._asdict(), **{f"growth_{k}": v for k, v in kind.leaks._asdict().items()}},
        }


class Campaign:
    """An attack of so many inputs, in several workers."""

    def __init__(self, name: str, inputs: int, seed: int, told: Failed = lambda failure: None) -> None:
        self._kind: Kind = EVERY[name]
        self._name, self._seed, self._told = name, seed, told
        self._cases = iter(range(-(-inputs // self._kind.inputs)))
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.result = Result(name)

    def run(self, workers: int, progress: Callable[[int], None] = lambda inputs: None) -> Result:
        """Run all cases and return what they came to; stops the workers where it is interrupted."""
        start = time.perf_counter()
        done: queue.Queue[int | None] = queue.Queue()
        threads = [threading.Thread(target=self._work, args=(done,)) for _ in range(workers)]
        for thread in threads:
            thread.start()
        try:
            for _ in threads:
                for inputs in iter(done.get, None):
                    self.result.inputs += inputs
                    progress(inputs)
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()
        self.result.seconds = time.perf_counter() - start
        return self.result

    def _work(self, done: queue.Queue[int | None]) -> None:
        try:
            while not self._stopped.is_set() and (case := self._next()) is not None:
                with tempfile.TemporaryDirectory(prefix=f"torture-{self._name}-") as folder:
                    self._one_worker(Path(folder), case, done)
        except Exception as exc:
            self._fail(None, f"the torture itself failed: {exc!r}")
        finally:
            done.put(None)

    def _next(self) -> int | None:
        with self._lock:
            return next(self._cases, None)

    def _one_worker(self, folder: Path, first: int, done: queue.Queue[int | None]) -> None:
        """Run cases in one process until there are none, or one takes the process with it."""
        samples: list[dict[str, Any]] = []
        with Worker(self._name, self._seed, folder) as worker:
            for case in itertools.chain([first], iter(self._next, None)):
                if self._stopped.is_set():
                    return
                said = worker.case(case)
                done.put(self._kind.inputs)
                self._judge(case, said)
                if "rss" not in said:
                    return  # it is gone
                samples.append(said)
            if problem := worker.end():
                self._fail(None, problem)
        self._leaks(samples)

    def _judge(self, case: int, said: dict[str, Any]) -> None:
        with self._lock:
            self.result.slowest = max(self.result.slowest, (said.get("seconds", 0.0), case))
            self.result.hungriest = max(self.result.hungriest, (said.get("taken", 0), case))
        if "failure" in said:
            self._fail(case, said["failure"])
            return
        bounds = self._kind.bounds
        if said["seconds"] > bounds.seconds:
            self._fail(case, f"it took {said['seconds']:.1f} s, expected at most {bounds.seconds}")
        elif said["taken"] > bounds.memory:
            taken, most = (number >> 20 for number in (said["taken"], bounds.memory))
            self._fail(case, f"it took {taken} MB of memory, expected at most {most} MB")
        else:
            with self._lock:
                self.result.outcomes.update(said["outcomes"])

    def _leaks(self, samples: Sequence[dict[str, Any]]) -> None:
        """Compare a worker's last settled case with the first after a quarter, before which caches fill."""
        settled = [sample for sample in samples[len(samples) // 4 :] if sample["settled"]]
        if len(settled) < 2:
            return
        early, late = settled[0], settled[-1]
        most = {"rss": self._kind.leaks.memory, **self._kind.leaks._asdict()}
        for what in ("rss", "descriptors", "threads"):
            grown = late[what] - early[what]
            self.result.grown[what] = max(self.result.grown.get(what, grown), grown)
            if grown > most[what]:
                between = f"between cases {early['case']} and {late['case']}"
                self._fail(None, f"a leak: {what} grew by {grown:,} {between}, expected at most {most[what]:,}")

    def _fail(self, case: int | None, what: str) -> None:
        failure = Failure(self._name, case, what, self._seed)
        with self._lock:
            self.result.failures.append(failure)
            self._told(failure)


class Worker:
    """A worker process and the watch over it."""

    def __init__(self, name: str, seed: int, folder: Path) -> None:
        self._kind, self._folder = EVERY[name], folder
        command = [sys.executable, "-m", "tests.torture.worker", name, str(seed), str(folder)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        self._replies: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Worker:
        ready = self._wait(STARTUP_SECONDS, None)
        if "ready" not in ready:
            self.__exit__()
            raise RuntimeError(ready["failure"])
        self._watched = int(ready["watched"])
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]  # it ends, and stops what it has started
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def case(self, number: int) -> dict[str, Any]:
        """Have a case done and return what is said of it; a failure without "rss" where the process is gone."""
        before = self._resident()  # now: a case may take the process with it
        with contextlib.suppress(OSError):
            self._process.stdin.write(f"{number}\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]
        # The worker's own clock judges; this one is for what never comes back.
        return self._wait(2 * self._kind.bounds.seconds, before)

    def end(self) -> str | None:
        """Let it stop what it has started, and return what was wrong."""
        self._process.stdin.close()  # type: ignore[union-attr]
        for said in self._replies_until_end():
            if "failure" in said:
                return str(said["failure"])
        return None

    def _replies_until_end(self) -> Iterator[dict[str, Any]]:
        with contextlib.suppress(queue.Empty):
            yield from iter(lambda: self._replies.get(timeout=60), None)

    def _read(self) -> None:
        for line in self._process.stdout:  # type: ignore[union-attr]
            self._replies.put(json.loads(line))
        self._replies.put(None)

    def _wait(self, seconds: float, before: int | None) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                said = self._replies.get(timeout=WATCH_SECONDS)
            except queue.Empty:
                if before is not None and self._resident() - before > 1.5 * self._kind.bounds.memory:
                    return self._killed("its memory went half as much again over its bound")
                continue
            return said if said is not None else self._killed("the process died")
        return self._killed(f"it hung: nothing after {seconds:.0f} s")

    def _resident(self) -> int:
        try:
            return held(self._watched)["rss"]
        except (OSError, KeyError):  # it is on its way out
            return 0

    def _killed(self, why: str) -> dict[str, Any]:
        self._process.kill()
        status = self._process.wait()
        log = self._folder / "log"
        end = log.read_text(encoding="utf-8", errors="replace")[-LOG_SHOWN:] if log.is_file() else ""
        return {"failure": f"{why} (exit status {status}); the end of its log:\n{end}"}
