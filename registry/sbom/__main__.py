"""Write the bill of materials of each environment, and the table of licenses.

python -m registry.sbom
"""

from __future__ import annotations

import sys

from asset.environments import ROOT
from registry.sbom.bill import NAMES, BillError, bill_file, make_bill
from registry.sbom.licenses import table

LICENSES = ROOT / "docs/licenses.md"


def main() -> int:
    """Write them and print their names; exit status 1 and one line where an environment is not as pinned."""
    try:
        bills = {name: make_bill(name) for name in NAMES}
    except BillError as exc:
        sys.stderr.write(f"sbom: {exc}\n")
        return 1
    written = {bill_file(name): bill for name, bill in bills.items()} | {LICENSES: table(bills)}
    for path, content in written.items():
        path.write_text(content, encoding="utf-8")
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
