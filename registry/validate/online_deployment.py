"""Online deployments: the machine, probes, and what concerns requests."""

from __future__ import annotations

from collections.abc import Iterator

from asset.azure_sdk import refused
from asset.findings import Finding
from asset.yaml_file import YamlFile
from registry.validate import request_settings
from registry.validate.asset_folder import AssetFolder
from registry.validate.deployments import at_least, check_machine, check_shared

PROBE = ("initial_delay", "period", "timeout", "success_threshold", "failure_threshold")


def check(file: YamlFile, asset: AssetFolder) -> Iterator[Finding]:
    """Check a managed online deployment."""
    yield from refused(file, "online deployment")
    yield from check_shared(file, asset, batch=False)
    yield from check_machine(file.top, asset)
    yield from at_least(file.top, "instance_count", 1, "instance-count")
    yield from _scale(file)
    for name in ("liveness_probe", "readiness_probe"):
        yield from _probe(file, name)
    yield from request_settings.check(file, asset)


def _scale(file: YamlFile) -> Iterator[Finding]:
    scale = file.top.part("scale_settings").text("type")
    if scale and scale != "default" and "kubernetes" not in str(file.data.get("$schema")):
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
