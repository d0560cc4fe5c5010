"""Batch scoring takes as much memory for twenty thousand rows as for a few."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

PEAK = """
import json, resource, sys
from deployment import batch_file, batch_score

seen = []
chunks = batch_file.chunks

def watched(*arguments):
    for chunk in chunks(*arguments):
        yield chunk
        seen.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)

batch_file.chunks, batch_file.CHUNK_ROWS = watched, 512
batch_score.init()
rows = [json.loads(line)["rows"] for line in batch_score.run(sys.argv[1:])]
assert not {"torch", "transformers", "pandas", "pyarrow"} & set(sys.modules)
print(json.dumps([rows, len(seen), seen[4], seen[-1]]))
"""

GROWTH_MB = 8
"""What the peak of memory may grow by between the fifth chunk and the last: nothing but the allocator's play."""


def test_memory_stays_flat_over_twenty_thousand_rows(
    sharp_checkpoint: Path, put: Callable[[str, Any], Path], tmp_path: Path
) -> None:
    file = put("a.jsonl", [{"text": f"The cat [MASK] on mat {n}."} for n in range(20_000)])
    variables = {
        "AZUREML_MODEL_DIR": str(sharp_checkpoint),
        "AZUREML_BI_OUTPUT_PATH": str(tmp_path / "out"),
        "BATCH_SCORING_PART_SECONDS": "0.2",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", PEAK, str(file)]
    result = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    rows, chunks, early, last = json.loads(result.stdout)
    assert (rows, chunks) == ([20_000], 40)
    assert (last - early) / 1024 < GROWTH_MB
