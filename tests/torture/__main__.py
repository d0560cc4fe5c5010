"""Attack every boundary with hostile input: what `make torture` runs.

    python -m tests.torture --requests 1000 --folders 50 --files 20 --seed 17
    python -m tests.torture --reproduce folders:123

Prints each failure with what does it again, and one JSON object at the end. Exit status: 0, 1 where a promise was broken,
130 where it was interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from tqdm import tqdm

from tests.torture.attack import KINDS
from tests.torture.campaign import Campaign, Failure, Result
from tests.torture.worker import run_case


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    found = argparse.ArgumentParser("python -m tests.torture", description=(__doc__ or "").split("\n", 1)[0])
    found.add_argument("--requests", type=int, default=100_000, help="HTTP bodies and requests (100,000)")
    found.add_argument("--folders", type=int, default=5_000, help="model folders (5,000)")
    found.add_argument("--files", type=int, default=2_000, help="YAML and data files (2,000)")
    found.add_argument("--seed", type=int, default=17, help="all inputs follow from it (17)")
    found.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes at a time; all CPUs")
    found.add_argument("--only", choices=list(KINDS), action="append", help="this attack alone; repeat it for more")
    found.add_argument("--json", type=Path, help="write the summary here too")
    found.add_argument("--reproduce", metavar="ATTACK:CASE", help="do one case again, in this process, and show it")
    return found


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    args = parser().parse_args(argv)
    if args.reproduce:
        return reproduce(args.reproduce, args.seed)
    results = []
    try:
        for name, kind in KINDS.items():
            if not args.only or name in args.only:
                inputs = round(kind.share * getattr(args, kind.boundary))
                results.append(torture(name, inputs, args.seed, args.workers))
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; nothing of it runs on\n")
        return 130
    summary = {"seed": args.seed, "passed": not any(one.failures for one in results)}
    text = json.dumps(summary | {"attacks": {one.kind: one.as_json() for one in results}}, indent=2)
    sys.stdout.write(text + "\n")
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")
    return 0 if summary["passed"] else 1


def torture(name: str, inputs: int, seed: int, workers: int) -> Result:
    """Run an attack with a bar that says how far it is, and print each failure when it comes."""
    with tqdm(total=inputs, desc=name, unit=" inputs", mininterval=0.5 if sys.stderr.isatty() else 30) as bar:

        def tell(failure: Failure) -> None:
            case = "" if failure.case is None else f" case {failure.case}"
            bar.write(f"FAIL {name}{case}: {failure.what}\n  again: {failure.reproduce}", file=sys.stderr)

        return Campaign(name, inputs, seed, tell).run(workers, bar.update)


def reproduce(which: str, seed: int) -> int:
    """Do one case again and keep what it was given."""
    name, _, case = which.partition(":")
    folder = Path(tempfile.mkdtemp(prefix=f"torture-{name}-"))
    os.environ["TORTURE_KEEP"] = "1"
    attack = KINDS[name].start(folder, seed)
    said = run_case(attack, int(case))
    attack.close()
    failure = said.pop("failure", None)
    sys.stdout.write(f"{failure or 'no failure'}\n{json.dumps(said)}\nits files are in {folder}\n")
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
