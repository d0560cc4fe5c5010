"""Online and batch endpoints: names, authentication, and traffic to deployments that there are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from asset.azure_sdk import refused
from asset.checks.kinds import Kind
from asset.checks.validate.asset_folder import AssetFolder
from asset.findings import Finding, one_of
from asset.yaml_file import Part, YamlFile

NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]{1,30}[a-zA-Z0-9]")


def check_online(file: YamlFile, asset: AssetFolder) -> Iterator[Finding]:
    """Check an online endpoint."""
    yield from refused(file, Kind.ONLINE_ENDPOINT)
    yield from check_name(file.top, "name")
    deployments = _deployments(file, asset)
    traffic = file.top.part("traffic")
    yield from _known(traffic, traffic.data, deployments)
    shares = {name: share for name in traffic.data if (share := traffic.whole(name)) is not None}
    for name, share in shares.items():
        if not 0 <= share <= 100:
            message = f"expected a percentage from 0 to 100, found {share}"
            yield Finding(traffic.place(name), message, "correct it", "traffic")
    if shares and sum(shares.values()) not in (0, 100):
        message = f"expected traffic of 100 percent together, or of none, found {sum(shares.values())}"
        yield Finding(file.place("traffic"), message, "make the shares add up to 100", "traffic")
    mirror = file.top.part("mirror_traffic")
    yield from _known(mirror, mirror.data, deployments)
    for name in mirror.data:
        if (share := mirror.whole(name)) is not None and not 0 <= share <= 50:
            message = f"expected at most 50 percent of traffic to be mirrored, found {share}"
            yield Finding(mirror.place(str(name)), message, "lower it", "traffic")


def check_batch(file: YamlFile, asset: AssetFolder) -> Iterator[Finding]:
    """Check a batch endpoint."""
    yield from refused(file, Kind.BATCH_ENDPOINT)
    yield from check_name(file.top, "name")
    mode = file.top.text("auth_mode")
    if mode is not None and mode != "aad_token":
        message = f"expected `auth_mode: aad_token`, the only one that batch endpoints have, found {mode}"
        yield Finding(file.place("auth_mode"), message, "write aad_token", "auth-mode")
    defaults = file.top.part("defaults")
    named = defaults.text("deployment_name")
    yield from _known(defaults, {"deployment_name": named} if named else {}, _deployments(file, asset))


def check_name(part: Part, key: str) -> Iterator[Finding]:
    """Check the name of an endpoint or a deployment."""
    name = part.data.get(key)
    if isinstance(name, str) and not NAME.fullmatch(name):
        message = f"expected 3 to 32 letters, digits and hyphens, a letter first and no hyphen last, found {name!r}"
        yield Finding(part.place(key), message, "rename it", "name")


def _deployments(file: YamlFile, asset: AssetFolder) -> list[str]:
    """Return the names of the deployments of this endpoint in its folder."""
    name = file.data.get("name")
    beside = asset.read_beside(file.path.parent)
    return [str(one.data.get("name")) for one in beside if one.data.get("endpoint_name") == name]


def _known(part: Part, names: dict[Any, Any], deployments: list[str]) -> Iterator[Finding]:
    """Find names of deployments that are not there; nothing is said if the folder has no deployments at all."""
    for key, value in names.items():
        name = str(value if key == "deployment_name" else key)
        if deployments and name not in deployments:
            about = f"there is no deployment '{name}' of this endpoint beside it"
            yield one_of(name, deployments, about).at(part.place(str(key)), "unknown-deployment")


def unknown_endpoint(name: str, known: list[str]) -> Finding | None:
    """Say that there is no endpoint of this name beside its deployment; None if there is, or if there are none at all."""
    return one_of(name, known, f"there is no endpoint '{name}' beside it") if known and name not in known else None
