"""The workspace of Azure Machine Learning and the sign-in, looked for without a network and without showing secrets.

Only Azure can say if a password is still valid or a sign-in has expired.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asset.checks.doctor.check import Machine, note, ok, wrong
from asset.findings import Finding, shown

CONFIG_KEYS = ("subscription_id", "resource_group", "workspace_name")
SECRET = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
CERTIFICATE = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_CERTIFICATE_PATH")
WORKLOAD = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE")

SERVERS_OWN = ("config.json", "config.py", "exceptions.py", "logging.json", "utils.py")
"""Names of files in the root of the checkout that the inference server would read as its own."""


def not_asked() -> Finding:
    """Say that Azure was not checked."""
    return note("azure", "not checked", "`asset doctor --azure` checks it, without a network")


def server_files(machine: Machine) -> Finding:
    """Check that the root has no file that disturbs the inference server, such as a workspace's config.json."""
    name, expected = (
        "root folder",
        f"none of {', '.join(SERVERS_OWN)} in the root, which the inference server reads as its own",
    )
    found = [file for file in SERVERS_OWN if (machine.root / file).exists()]
    if found:
        fix = (
            "move config.json to .azureml/config.json, where Azure's SDK finds it too" if "config.json" in found else ""
        )
        rest = ", ".join(file for file in found if file != "config.json")
        return wrong(name, expected, ", ".join(found), "; ".join(filter(None, (fix, rest and f"rename {rest}"))))
    return ok(name, "none")


def azure(machine: Machine) -> Iterator[Finding]:
    """Check the workspace and the sign-in."""
    yield workspace(machine)
    yield credentials(machine)


def workspace(machine: Machine) -> Finding:
    """Find the workspace's names in environment variables, else in a config.json, as the client does."""
    from asset.local.client.workspace import VARIABLES  # imports the SDK, which takes seconds

    name, expected = (
        "azure workspace",
        "its subscription, resource group and name, in environment variables or in a config.json",
    )
    environ = {part: next((key for key in keys if machine.environ.get(key)), None) for part, keys in VARIABLES.items()}
    if all(environ.values()):
        return ok(name, f"{', '.join(filter(None, environ.values()))} are set")
    file = _config(machine.root)
    if file is None:
        left = ", ".join(VARIABLES[part][1] for part, key in environ.items() if key is None)
        fix = f"set {left}; or put the config.json that the studio offers at .azureml/config.json"
        return wrong(name, expected, f"no config.json, and not set: {left}", fix)
    try:
        given: Any = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        return wrong(name, expected, f"{shown(file)}: cannot be read: {exc}", "get it from the studio again")
    lacks = [
        part
        for part in CONFIG_KEYS
        if not (isinstance(given, dict) and isinstance(given.get(part), str) and given[part])
    ]
    if lacks:
        return wrong(name, expected, f"{shown(file)} without {', '.join(lacks)}", "get it from the studio again")
    return ok(name, f"{shown(file)}, workspace {given['workspace_name']}")


def _config(root: Path) -> Path | None:
    """Return the config.json that MLClient.from_config finds: in the folder or above it."""
    places = (folder / below for folder in (root, *root.parents) for below in (".", ".azureml", "aml_config"))
    return next((place / "config.json" for place in places if (place / "config.json").is_file()), None)


def credentials(machine: Machine) -> Finding:
    """Find the way to sign in that azure-identity's DefaultAzureCredential takes first."""
    name, expected = "azure credentials", "a way for azure-identity to sign in"
    environ = machine.environ
    for keys in (SECRET, CERTIFICATE, WORKLOAD):
        # The tenant and the client may also be set alone: for a managed identity, or to choose an account.
        if not environ.get(keys[2]):
            continue
        lacks = [key for key in keys[:2] if not environ.get(key)]
        if lacks:
            fix = f"set {' and '.join(lacks)} too, or unset {keys[2]}"
            return wrong(name, expected, f"{keys[2]} without {' and '.join(lacks)}", fix)
        if keys != WORKLOAD:
            return _service_principal(machine, keys, name, expected)
        if not Path(environ[keys[2]]).is_file():
            return wrong(name, expected, f"{keys[2]} names no file", "correct it, or unset it")
        return ok(name, f"a workload's identity: {', '.join(keys)} are set")
    if environ.get("IDENTITY_ENDPOINT") or environ.get("MSI_ENDPOINT"):
        return ok(name, "a managed identity: its endpoint is set")
    return _command_line(machine, name, expected)


def _service_principal(machine: Machine, keys: tuple[str, ...], name: str, expected: str) -> Finding:
    """Give the values to azure-identity, which checks their form without asking Azure."""
    from azure.identity import CertificateCredential, ClientSecretCredential

    kind = ClientSecretCredential if keys == SECRET else CertificateCredential
    values = [machine.environ[key] for key in keys]
    try:
        if keys == SECRET:
            ClientSecretCredential(*values)
        else:
            CertificateCredential(*values, password=machine.environ.get("AZURE_CLIENT_CERTIFICATE_PASSWORD"))
    except (ValueError, TypeError, OSError) as exc:
        # The error's message may contain a secret; its type does not.
        found = f"{kind.__name__} refuses {', '.join(keys)} ({type(exc).__name__})"
        return wrong(
            name,
            expected,
            found,
            "correct them: the tenant's id, the client's id, and its secret or certificate's file",
        )
    return ok(name, f"a service principal: {', '.join(keys)} are set")


def _command_line(machine: Machine, name: str, expected: str) -> Finding:
    """Look for a sign-in of the Azure command line."""
    folder = Path(machine.environ.get("AZURE_CONFIG_DIR") or machine.home / ".azure")
    fix = "install the Azure command line and run `az login`; or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"
    if shutil.which("az", path=machine.environ.get("PATH", os.defpath)) is None:
        return wrong(name, expected, "no variables of a service principal, and no Azure command line", fix)
    try:
        # The Azure command line writes this file with a byte order mark.
        profile = json.loads((folder / "azureProfile.json").read_text(encoding="utf-8-sig"))
        signed_in = bool(profile["subscriptions"])
    except (OSError, ValueError, KeyError, TypeError):
        signed_in = False
    if not signed_in:
        return wrong(name, expected, "nobody is signed in with the Azure command line", "run `az login`")
    return ok(name, "signed in with the Azure command line; only Azure can say if the sign-in is still valid")
