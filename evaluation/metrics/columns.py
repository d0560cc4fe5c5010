"""Numbers of rows that are not counted yet: columns that grow, 1 or 8 bytes a number and nothing else."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import numpy.typing as npt

KINDS = {bool: "b", int: "q", float: "d"}


class Columns:
    """Columns of the same length, e.g. Columns(found=bool, rank=int, probability=float)."""

    def __init__(self, **kinds: type) -> None:
        """Name the columns and what is in them; bool holds any number from -128 to 127."""
        self._columns = {name: array(KINDS[kind]) for name, kind in kinds.items()}

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return list(self._columns)

    def append(self, **values: float) -> None:
        """Add a row: a number for each column."""
        for name, column in self._columns.items():
            column.append(values[name])

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        column = self._columns[name]
        return np.frombuffer(column, np.dtype(column.typecode)) if column else np.empty(0, np.dtype(column.typecode))
