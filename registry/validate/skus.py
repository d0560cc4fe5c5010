"""Whether a machine is one of the asset's, or of Azure's at all."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from asset.findings import Problem

SIZE = re.compile(r"standard_[a-z]{1,4}\d{1,3}(-\d{1,3})?[a-z]{0,5}(_[a-z0-9]{1,8}){0,3}(_v\d)?", re.IGNORECASE)
"""How Azure names sizes of virtual machines: Standard_D12_v2, Standard_NC24ads_A100_v4."""

WITH_GPU = re.compile(r"standard_n", re.IGNORECASE)


def unknown_machine(name: str, known: Iterable[str], where: str, others: Iterable[str] = ()) -> Problem | None:
    """Say what is wrong with a machine's name, or None; Azure takes it in any case: Standard_nc24rs_v3.

    `others` are machines that there are, for something else: their names are not misspelled.
    """
    names = {one.lower(): one for one in known}
    if name.lower() in names:
        return None
    real = name.lower() in map(str.lower, others)
    close = [] if real else difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.85)
    fix = "choose one of sku_lists.yaml" + (f", as {names[close[0]]}" if close else "")
    return Problem(f"expected a machine of {where} in sku_lists.yaml, found {name}", fix)


def unsuitable_machine(name: str, known: Iterable[str], where: str) -> Problem | None:
    """Say what is wrong with a machine for a step of a job, or None.

    One with GPUs is for the model, and one of the asset's; a step without a model runs on any of Azure's.
    """
    if SIZE.fullmatch(name) and not WITH_GPU.match(name):
        return None
    return unknown_machine(name, known, where)
