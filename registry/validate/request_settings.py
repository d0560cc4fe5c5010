"""How many requests a deployment lets in, and for how long, against what the scoring runtime does with them.

The server hands a request to a thread, and threads put them in the runtime's queue, which refuses past its bound (429)
and at its deadline (504). All of that shows only where Azure waits longer than the deadline and lets in as many requests
as there are threads, of which there have to be more than the queue takes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from asset.findings import Finding, one_of
from asset.yaml_file import Part, YamlFile
from registry.validate.asset_folder import AssetFolder
from registry.validate.deployments import at_least
from serving.settings import PREFIX, Settings, SettingsError

DEFAULT_TIMEOUT_MS, LONGEST_TIMEOUT_MS = 5000, 180_000
"""What Azure takes for `request_timeout_ms` where there is none, and the most that it takes."""

RULE = "request-settings"


def check(file: YamlFile, asset: AssetFolder) -> Iterator[Finding]:
    """Check request_settings and the environment variables that go with them."""
    requests, variables = file.top.part("request_settings"), file.top.part("environment_variables")
    for key in ("request_timeout_ms", "max_concurrent_requests_per_instance"):
        yield from at_least(requests, key, 1, RULE)
    yield from at_least(requests, "max_queue_wait_ms", 0, RULE)
    yield from _settings(variables)
    if not _runs(file, asset.root / "score.py"):
        return
    settings = _read(variables)
    yield from _timeout(file, requests, settings)
    yield from _threads(file, requests, variables, settings)


def _runs(file: YamlFile, script: Path) -> bool:
    """Return whether a deployment runs a scoring script."""
    code = file.top.part("code_configuration")
    folder, name = code.text("code"), code.text("scoring_script")
    try:
        return bool(folder and name) and (file.path.parent / str(folder) / str(name)).resolve() == script.resolve()
    except (OSError, ValueError):
        return False


def _settings(variables: Part) -> Iterator[Finding]:
    """Check each setting by the runtime's own rules; it does not start with a wrong one."""
    known = [PREFIX + field.name.upper() for field in fields(Settings)]
    for name, value in variables.data.items():
        if not str(name).startswith(PREFIX):
            continue
        place = variables.place(str(name))
        if name not in known:
            names = one_of(name, known)
            message = f"unknown setting {name}, with which the scoring runtime does not start; {names.message}"
            yield Finding(place, message, names.fix, "serving-setting")
            continue
        try:
            Settings.from_env({name: str(value)})
        except SettingsError as exc:
            yield Finding(place, str(exc), "correct it, or leave it out for its default", "serving-setting")


def _read(variables: Part) -> Settings:
    """Return the settings that the deployment starts with, each wrong one at its default."""
    good = {}
    for name, value in variables.data.items():
        try:
            Settings.from_env({str(name): str(value)})
            good[str(name)] = str(value)
        except SettingsError:
            continue
    return Settings.from_env(good)


def _timeout(file: YamlFile, requests: Part, settings: Settings) -> Iterator[Finding]:
    timeout = requests.whole("request_timeout_ms")
    place = requests.place("request_timeout_ms")
    if timeout is not None and timeout > LONGEST_TIMEOUT_MS:
        message = f"expected at most {LONGEST_TIMEOUT_MS} ms, Azure's own limit, found {timeout}"
        yield Finding(place, message, f"write {LONGEST_TIMEOUT_MS} or less", RULE)
    waited = DEFAULT_TIMEOUT_MS if timeout is None else timeout
    if 0 < waited <= settings.deadline_ms:
        found = f"{waited}" if timeout is not None else f"none, which is {waited}"
        message = (
            f"expected more than BERT_SERVING_DEADLINE_MS, {settings.deadline_ms} ms, found {found}: clients would get 408 "
            "and not the runtime's 504"
        )
        if timeout is None and "request_settings" not in file.top:
            place = file.place("environment_variables", "BERT_SERVING_DEADLINE_MS")
        fix = f"write `request_timeout_ms: {settings.deadline_ms + 1000}`, or lower the deadline"
        yield Finding(place, message, fix, RULE)


def _threads(file: YamlFile, requests: Part, variables: Part, settings: Settings) -> Iterator[Finding]:
    """Check the chain from Azure's own queue over the server's threads to the runtime's queue."""
    arguments = variables.text("GUNICORN_CMD_ARGS")
    place = variables.place("GUNICORN_CMD_ARGS")
    threads = None if arguments is None else threads_of(arguments)
    wanted = 2 * settings.max_queue
    if arguments is not None and (threads is None or threads <= settings.max_queue):
        found = threads if threads is not None else f"{arguments!r}"
        message = (
            f"expected more threads than the {settings.max_queue} requests of BERT_SERVING_MAX_QUEUE, found {found}: "
            "the rest would wait where neither batching, 429 nor the deadline reaches them"
        )
        yield Finding(place, message, f"write --threads {wanted}", "threads")
    at_once = requests.whole("max_concurrent_requests_per_instance")
    if at_once is None:
        where = requests.place() if requests.data else file.place("name")
        message = "expected `max_concurrent_requests_per_instance`, found none, which is 1: no two requests would share a batch"
        yield Finding(where, message, f"write {settings.max_queue}", RULE)
    elif at_once < 2:
        message = f"expected room for a batch, found {at_once} request at a time: no two would share one"
        where = requests.place("max_concurrent_requests_per_instance")
        yield Finding(where, message, f"write {settings.max_queue}", RULE)
    elif threads is not None and at_once > threads > settings.max_queue:
        message = f"expected at most as many requests as threads, {threads}, found {at_once}: the rest would wait in the server"
        where = requests.place("max_concurrent_requests_per_instance")
        yield Finding(where, message, f"write {threads} or less, or more threads", RULE)


def threads_of(arguments: str) -> int | None:
    """Return what gunicorn reads as its number of threads: 256 of "--threads 256", 1 where none is given.

    None where it would refuse to start.
    """
    try:
        words = shlex.split(arguments)
    except ValueError:
        return None
    given = "1"
    for index, word in enumerate(words):
        if word == "--threads":
            given = words[index + 1] if index + 1 < len(words) else ""
        elif match := re.fullmatch(r"--threads=(.*)", word):
            given = match[1]
    return int(given) if given.isascii() and given.isdecimal() and len(given) < 10 else None
