"""The process that scores mini-batches: it imports a scoring script as Azure ML's batch runtime does, and calls it.

    python -P asset/local/batch/worker.py DESCRIPTOR CODE SCRIPT

runs in the deployment's environment, so this file imports the standard library alone. Each line of standard input is a
mini-batch, a JSON list of files. The answers are lines of JSON, written to the descriptor: {"ready": true} after init(), then
for each mini-batch {"rows": [TEXT, …]}, the result of run(), or {"error": TEXT}. The script prints to standard output.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from typing import Any


def rows_of(result: Any) -> list[str]:  # noqa: ANN401 - whatever the script returns
    """Return the result of run() as lines of text; raises TypeError for a type that Azure refuses."""
    if hasattr(result, "to_csv"):
        return str(result.to_csv(index=False, header=False)).splitlines()
    if not isinstance(result, list | tuple):
        raise TypeError(f"run() returned {type(result).__name__}; return a list or a DataFrame")
    return [str(row) for row in result]


def main(descriptor: str, code: str, script: str) -> None:
    """Call the script for each mini-batch, until there are no more."""
    os.chdir(code)
    sys.path.insert(0, code)
    with os.fdopen(int(descriptor), "w", encoding="utf-8") as answers:

        def say(answer: dict[str, object]) -> None:
            answers.write(json.dumps(answer) + "\n")
            answers.flush()

        # The root of the code is on the path, and a script in a folder of it is a module of that package.
        module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
        module.init()
        say({"ready": True})
        for line in sys.stdin:
            try:
                say({"rows": rows_of(module.run(json.loads(line)))})
            except Exception as exc:
                traceback.print_exc()
                say({"error": f"{type(exc).__name__}: {exc}"})


if __name__ == "__main__":
    main(*sys.argv[1:])
