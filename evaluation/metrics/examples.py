"""The best and the worst of a stream of rows: a few are kept, the others let go at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KEPT = 5


class Examples:
    """The rows of the highest rank so far, highest first; of rows with the same input, only one."""

    def __init__(self, kept: int = KEPT) -> None:
        """Say how many are kept."""
        self._kept = kept
        self._rows: list[tuple[tuple[float, ...], Mapping[str, Any]]] = []

    def offer(self, rank: tuple[float, ...], example: Mapping[str, Any]) -> None:
        """Keep the example if few enough rank higher; of the same rank, the first is kept."""
        if len(self._rows) == self._kept and rank <= self._rows[-1][0]:
            return
        for index, (other, kept) in enumerate(self._rows):
            if kept["input"] == example["input"] and kept["expected"] == example["expected"]:
                if rank <= other:
                    return
                del self._rows[index]
                break
        self._rows.append((rank, example))
        self._rows.sort(key=lambda row: row[0], reverse=True)
        del self._rows[self._kept :]

    def rows(self) -> list[dict[str, Any]]:
        """Return the examples, the highest rank first."""
        return [dict(example) for _, example in self._rows]
