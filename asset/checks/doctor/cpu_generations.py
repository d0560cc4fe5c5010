"""Which processors Azure's sizes of virtual machines run on, as far as that is known, and whether they are fast in int8.

From the pages of each series in Azure's documentation (learn.microsoft.com/azure/virtual-machines/sizes). A series
that may run on several gets any of them; which one, only the running machine says. int8 is fast from Intel's Cascade
Lake and from AMD's Zen 4 (Genoa) on: Skylake, Broadwell, Haswell, Rome and Milan have no such instructions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Fast = Literal["all", "some", "none"]


@dataclass(frozen=True)
class Generation:
    """The processors of a series: how its sizes are called, and whether all, some or none of them are fast in int8."""

    sizes: str
    processors: str
    fast: Fast
    remark: str = ""


GENERATIONS = (
    Generation(r"F\d+s_v2", "Xeon Platinum 8272CL (Cascade Lake) or 8370C (Ice Lake), some 8168 (Skylake)", "some"),
    Generation(r"FX\d+mds", "Xeon Gold 6246R (Cascade Lake)", "all"),
    Generation(r"DS?\d+_v2", "Xeon from E5-2673 v3 (Haswell) to Platinum 8370C (Ice Lake)", "some"),
    Generation(r"[DE]\d+s?_v3", "Xeon from E5-2673 v4 (Broadwell) to Platinum 8370C (Ice Lake)", "some"),
    Generation(r"[DE]\d+as?_v4", "AMD EPYC 7452 (Rome) or 7763v (Milan)", "none"),
    Generation(r"NC\d+as_T4_v3", "AMD EPYC 7V12 (Rome)", "none"),
    Generation(
        r"NC\d+r?s_v3", "Xeon E5-2690 v4 (Broadwell)", "none", "Azure retires NC6s, NC12s and NC24s_v3 from 2025-09-30"
    ),
    Generation(r"NC\d+ads_A100_v4", "AMD EPYC 7V13 (Milan)", "none"),
    Generation(r"ND96a(m)?sr(_A100)?_v4", "AMD EPYC 7V12 (Rome)", "none"),
    Generation(r"ND40rs_v2", "Xeon Platinum 8168 (Skylake)", "none"),
    Generation(r"NV\d+s_v3", "Xeon E5-2690 v4 (Broadwell)", "none"),
)


def generation(sku: str) -> Generation | None:
    """Return what a size runs on, as Standard_F4s_v2; None where that is not known."""
    size = sku.partition("_")[2]
    return next((each for each in GENERATIONS if re.fullmatch(each.sizes, size, re.IGNORECASE)), None)
