"""Variables of the environment that change what is done here: serving's settings, proxies and the hub's."""

from __future__ import annotations

import difflib
import re
import urllib.request
from collections.abc import Mapping
from dataclasses import fields

from registry.doctor.check import Check, note, ok, wrong
from registry.doctor.machine import Machine
from serving.settings import PREFIX, Settings, SettingsError

LOOPBACK = ("127.0.0.1", "localhost")
ON = {"1", "ON", "YES", "TRUE"}
"""What huggingface_hub takes for yes."""


def serving_settings(machine: Machine) -> Check:
    """See that serving takes each variable that is meant for it."""
    return check_settings(machine.environ, "settings of serving")


def check_settings(environ: Mapping[str, str], name: str) -> Check:
    """Read the settings as serving does."""
    known = [PREFIX + field.name.upper() for field in fields(Settings)]
    expected = "BERT_SERVING_ variables that serving knows, in their ranges"
    given = sorted(name for name in environ if name.startswith(PREFIX))
    try:
        Settings.from_env(environ)
    except SettingsError as exc:
        unknown = [one for one in given if one not in known]
        close = {one: difflib.get_close_matches(one, known, 1) for one in unknown}
        meant = [f"write {match[0]} for {one}" for one, match in close.items() if match]
        return wrong(name, expected, str(exc), "; ".join(meant) or "correct it, or unset it")
    return ok(name, expected, ", ".join(given) or "none set: the defaults")


def proxies(machine: Machine) -> Check:
    """See that requests to this machine itself do not go through a proxy."""
    name, expected = "proxies", "none, or NO_PROXY for 127.0.0.1 and localhost"
    # In lower case they win, as with curl and Python.
    given = {key.lower(): key for key in sorted(machine.environ) if machine.environ[key]}
    set_ = [given[key] for key in ("http_proxy", "all_proxy") if key in given]
    if not set_:
        return ok(name, expected, "none for http")
    without = machine.environ[given["no_proxy"]] if "no_proxy" in given else ""
    caught = [host for host in LOOPBACK if not urllib.request.proxy_bypass_environment(host, {"no": without})]
    if not caught:
        return ok(name, expected, f"{', '.join(set_)}, with NO_PROXY for loopback")
    found = f"{', '.join(set_)} would catch requests to {', '.join(caught)}, as of curl to `make serve`"
    kept = f"{without}," if without else ""
    return wrong(name, expected, found, f"export NO_PROXY={kept}127.0.0.1,localhost no_proxy={kept}127.0.0.1,localhost")


def hub(machine: Machine) -> Check:
    """Say where models are pulled from; whether it answers is not tried."""
    name, expected = "hub", "https://huggingface.co, or a mirror in HF_ENDPOINT"
    endpoint = machine.environ.get("HF_ENDPOINT", "").strip()
    token = "; HF_TOKEN is set" if machine.environ.get("HF_TOKEN") else ""
    if endpoint and not re.match(r"https?://[^/]", endpoint):
        return wrong(name, expected, "HF_ENDPOINT has no http:// or https://", "write it as https://mirror.example.com")
    if machine.environ.get("HF_HUB_OFFLINE", "").upper() in ON:
        found = f"HF_HUB_OFFLINE is on{token}"
        return note(name, expected, found, "unset it for `asset pull`, which else finds only what the hub's cache has")
    if endpoint:
        # A password may stand before the mirror's name.
        mirror = re.sub(r"//[^/]*@", "//", endpoint)
        return note(name, expected, f"HF_ENDPOINT: {mirror}{token}", "unset it to pull from huggingface.co")
    return ok(name, expected, f"https://huggingface.co, asked by `asset pull` alone{token}")
