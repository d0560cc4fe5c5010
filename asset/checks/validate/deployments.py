"""Online and batch deployments: the endpoint, model, code, environment and machine, and how requests are let in.

The server hands each request to a thread, and the threads put requests in the runtime's queue, which refuses requests
beyond its bound (429) and after its deadline (504). Clients see these answers only if Azure waits longer than the deadline,
lets in at most as many requests as there are threads, and there are more threads than the queue has places.
"""

from __future__ import annotations

import ast
import difflib
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from asset.azure_sdk import refused
from asset.checks.kinds import Kind, schema_name, yaml_kind
from asset.checks.pipeline.data import ASSET, FOLDERS
from asset.checks.pipeline.source import REMOTE, is_file, is_folder
from asset.checks.validate import images
from asset.checks.validate.asset_folder import AssetFolder, unknown_machine
from asset.checks.validate.endpoints import check_name, unknown_endpoint
from asset.findings import ELSEWHERE, Finding, Place, one_of
from asset.yaml_file import Part, YamlFile
from serving.errors import SettingsError
from serving.settings import PREFIX, Settings

DEFAULT_TIMEOUT_MS, LONGEST_TIMEOUT_MS = 5000, 180_000
"""Azure's default for `request_timeout_ms`, and its limit."""

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
    """Decide if a deployment runs this scoring script."""
    code = file.top.part("code_configuration")
    folder, name = code.text("code"), code.text("scoring_script")
    try:
        return bool(folder and name) and (file.path.parent / str(folder) / str(name)).resolve() == script.resolve()
    except (OSError, ValueError):
        return False


def _settings(variables: Part) -> Iterator[Finding]:
    """Check each setting by the runtime's own rules; the runtime does not start with a wrong setting."""
    known = [PREFIX + field.name.upper() for field in fields(Settings)]
    for name, value in variables.data.items():
        if not str(name).startswith(PREFIX):
            continue
        place = variables.place(str(name))
        if name not in known:
            about = f"the scoring runtime does not start with the unknown setting {name}"
            yield one_of(name, known, about).at(place, "serving-setting")
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
    """Return the number of threads that gunicorn reads from its arguments: 256 from "--threads 256", 1 by default.

    None if gunicorn would refuse to start.
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


def check_shared(file: YamlFile, asset: AssetFolder, batch: bool) -> Iterator[Finding]:
    """Check what online and batch deployments have in common."""
    yield from check_name(file.top, "name")
    yield from _endpoint(file, asset, batch)
    yield from _model(file.top, asset)
    if "code_configuration" in file.top:
        yield from _code(file)
    else:
        message = "without `code_configuration`, Azure serves an MLflow model by itself, and no script of this checkout"
        fix = "write `code_configuration: {code: .., scoring_script: …}` to have one run"
        yield Finding(file.place("name"), message, fix, "no-code").as_note()
    if "code_configuration" in file.top or "environment" in file.top:
        yield from images.check_named(file.top, file.path.parent, asset)


def check_machine(part: Part, asset: AssetFolder) -> Iterator[Finding]:
    """Check that the machine is one that the model is served on."""
    machine, lists = part.text("instance_type"), asset.skus
    if machine and "inference" in lists:
        others = [name for one in lists.values() for name in one.allow_list]
        wrong = unknown_machine(machine, lists["inference"].allow_list, "the list for inference", others)
        if wrong:
            yield wrong.at(part.place("instance_type"), "sku")


def at_least(part: Part, key: str, least: int, rule: str) -> Iterator[Finding]:
    """Find a number that is too small."""
    found = part.whole(key)
    if found is not None and found < least:
        message = f"expected `{key}` of at least {least}, found {found}"
        yield Finding(part.place(key), message, f"write {least} or more", rule)


def _endpoint(file: YamlFile, asset: AssetFolder, batch: bool) -> Iterator[Finding]:
    beside = asset.read_beside(file.path.parent)
    kind = Kind.BATCH_ENDPOINT if batch else Kind.ONLINE_ENDPOINT
    endpoints = [other for other in beside if yaml_kind(other) is kind]
    name = file.top.text("endpoint_name")
    if name and (wrong := unknown_endpoint(name, [str(one.data.get("name")) for one in endpoints])):
        yield wrong.at(file.place("endpoint_name"), "unknown-endpoint")
    for other in beside:
        same = all(other.data.get(key) == file.data.get(key) for key in ("name", "endpoint_name"))
        if same and other.path < file.path and "endpoint_name" in other.data and "name" in file.data:
            message = f"expected a name of its own, found that of {other.path.name}, a deployment of the same endpoint"
            yield Finding(file.place("name"), message, "rename one of the two", "deployment-twice")


def _model(deployment: Part, asset: AssetFolder) -> Iterator[Finding]:
    model = deployment.data.get("model")
    part = deployment.part("model")
    own = f"azureml:{asset.own.name}:{asset.own.version}"
    if isinstance(model, str):
        match = ASSET.fullmatch(model)
        if match and match["name"] == asset.own.name and not asset.own.is_named(model):
            message = f"expected {own}, the version of this checkout, found {model}"
            yield Finding(deployment.place("model"), message, f"write {own}", "model-version")
        elif not REMOTE.match(model):
            fix = f"write {own}, or `model: {{path: {model}, type: mlflow_model}}`"
            yield Finding(
                deployment.place("model"), f"expected a registered model, found {model}", fix, "model-reference"
            )
        elif match and match["name"] != asset.own.name:
            message = f"not checked: whether {model} is registered"
            yield Finding(deployment.place("model"), message, f"the model of this checkout is {own}", ELSEWHERE)
    path = part.text("path")
    if path and not REMOTE.match(path):
        folder = deployment.file.path.parent / path
        kind = part.text("type") or "custom_model"
        if not is_folder(folder) and not is_file(folder):
            message = f"expected a model at {path}, found nothing there"
            yield Finding(part.place("path"), message, f"name one that is there, or write `model: {own}`", "model-path")
        elif kind in FOLDERS and not is_folder(folder):
            message = f"expected a folder ({kind}), found the file {path}"
            yield Finding(part.place("path"), message, "name the folder that it is in", "model-path")


def _code(file: YamlFile) -> Iterator[Finding]:
    code = file.top.part("code_configuration")
    path, script = code.text("code"), code.text("scoring_script")
    fix = "write `code_configuration: {code: .., scoring_script: …}`"
    for key, value in (("code", path), ("scoring_script", script)):
        if value is None:
            yield Finding(code.place(), f"expected `{key}` in code_configuration, found none", fix, "no-code")
    if path is None or REMOTE.match(path):
        return
    folder = file.path.parent / path
    if not is_folder(folder):
        message = f"expected a folder of code, found none at {path}"
        yield Finding(code.place("code"), message, "name one that is there", "code-folder")
    elif script is not None and not is_file(folder / script):
        message = f"expected a scoring script in {path}, found none at {script}"
        yield Finding(code.place("scoring_script"), message, _meant(folder, script), "scoring-script")
    elif script is not None:
        yield from _script(folder / script, code.place("scoring_script"))


def _meant(folder: Path, script: str) -> str:
    """Say which script of a folder is probably meant."""
    known = {one.name: one for pattern in ("*/*.py", "*.py") for one in sorted(folder.glob(pattern))}
    close = difflib.get_close_matches(script.rsplit("/", 1)[-1], known, n=1, cutoff=0.8)
    return f"write {known[close[0]].relative_to(folder)}" if close else "name one that is there"


def _script(path: Path, place: Place) -> Iterator[Finding]:
    """Check that a scoring script has the two functions that the server or the batch job calls."""
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError as exc:
        message = f"expected Python, found: {exc.msg}"
        yield Finding(Place.in_file(path, exc.lineno or 1), message, "correct it", "scoring-script")
        return
    except (OSError, ValueError, RecursionError, MemoryError) as exc:
        yield Finding(place, f"expected a scoring script, found: {exc}", "name another", "scoring-script")
        return
    names = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    names |= {
        alias.asname or alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    names |= {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for name in ("init", "run"):
        if name not in names:
            message = f"expected a function {name} in {path.name}, found none"
            yield Finding(place, message, f"write `def {name}(…)` in it, or name another script", "scoring-script")


PROBE = ("initial_delay", "period", "timeout", "success_threshold", "failure_threshold")


def check_online(file: YamlFile, asset: AssetFolder) -> Iterator[Finding]:
    """Check an online deployment on machines of Azure or on a Kubernetes cluster."""
    yield from refused(file, Kind.ONLINE_DEPLOYMENT)
    yield from check_shared(file, asset, batch=False)
    if not _is_kubernetes(file):
        yield from check_machine(file.top, asset)
        yield from _scale(file)
    yield from at_least(file.top, "instance_count", 1, "instance-count")
    for name in ("liveness_probe", "readiness_probe"):
        yield from _probe(file, name)
    yield from check(file, asset)


def _is_kubernetes(file: YamlFile) -> bool:
    """Decide if a deployment runs on a user's own Kubernetes cluster, and not on Azure's machines."""
    return file.data.get("type") == "kubernetes" or schema_name(file).lower().startswith("kubernetes")


def _scale(file: YamlFile) -> Iterator[Finding]:
    scale = file.top.part("scale_settings").text("type")
    if scale and scale != "default":
        message = f"expected `type: default`, the only one of managed deployments, found {scale}"
        fix = "write default, and scale with rules of Azure Monitor"
        yield Finding(file.place("scale_settings", "type"), message, fix, "scale-settings")


def _probe(file: YamlFile, name: str) -> Iterator[Finding]:
    """Check a probe by the rules of Kubernetes, which runs it."""
    probe = file.top.part(name)
    for key in PROBE:
        yield from at_least(probe, key, 0 if key == "initial_delay" else 1, "probe")
    successes = probe.whole("success_threshold")
    if name == "liveness_probe" and successes is not None and successes > 1:
        message = f"expected `success_threshold: 1` of a liveness probe, found {successes}"
        yield Finding(probe.place("success_threshold"), message, "write 1", "probe")
    timeout, period = probe.whole("timeout"), probe.whole("period") or 10
    if timeout is not None and timeout > period:
        message = f"expected a timeout of at most the period, {period} s, found {timeout}"
        yield Finding(
            probe.place("timeout"), message, "lower it, as the next probe would begin before its end", "probe"
        )


BATCH_RULE = "batch-settings"
LEAST = {"mini_batch_size": 1, "max_concurrency_per_instance": 1, "error_threshold": -1, "instance_count": 1}
LEVELS = ("warning", "info", "debug")


def check_batch(file: YamlFile, asset: AssetFolder) -> Iterator[Finding]:
    """Check a batch deployment of a model; its settings are under `settings`, or in the older form at the top."""
    kind = yaml_kind(file) or Kind.BATCH_DEPLOYMENT
    yield from refused(file, kind)
    yield from check_shared(file, asset, batch=True)
    yield from _check_batch_settings(file.top.part("settings") if kind is Kind.MODEL_BATCH_DEPLOYMENT else file.top)
    if "compute" not in file.top:
        message = "expected the compute that it runs on, found none"
        yield Finding(file.place("name"), message, "write `compute: azureml:NAME`", "no-compute")
    resources = file.top.part("resources")
    yield from at_least(resources, "instance_count", 1, BATCH_RULE)
    yield from check_machine(resources, asset)


def _check_batch_settings(settings: Part) -> Iterator[Finding]:
    for key, least in LEAST.items():
        yield from at_least(settings, key, least, BATCH_RULE)
    retries = settings.part("retry_settings")
    yield from at_least(retries, "max_retries", 0, BATCH_RULE)
    yield from at_least(retries, "timeout", 1, BATCH_RULE)
    level = settings.text("logging_level")
    if level and level.lower() not in LEVELS:
        wrong = one_of(level, LEVELS, f"unknown logging_level {level}", write="write")
        yield wrong.at(settings.place("logging_level"), BATCH_RULE)
    if settings.text("output_action") == "summary_only" and "output_file_name" in settings:
        message = "expected a file's name with `output_action: append_row` only, found one with summary_only"
        yield Finding(settings.place("output_file_name"), message, "take it out, or write append_row", BATCH_RULE)
