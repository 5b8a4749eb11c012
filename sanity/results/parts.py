"""The parts of a run's tables: a file a unit, which says that the unit is done."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sanity.errors import ConfigError
from sanity.files import writing
from sanity.results.tables import (
    PREDICTIONS,
    SCORES,
    is_whole,
    mark,
    read_beside,
    read_table,
    write_frame,
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

log = logging.getLogger(__name__)

FOLDER = "parts"


class Parts:
    """The parts in a run's folder; a unit's predictions lie beside its scores.

    Args:
        run: The run's folder.
    """

    def __init__(self, run: Path):
        self._folder = run / FOLDER
        self._known: set[str] = set()  # all that have been said to be done

    def write(
        self,
        unit: str,
        scores: "pd.DataFrame",
        predictions: "pd.DataFrame | None" = None,
        heard: bytes | None = None,
    ) -> None:
        """Stores a unit's rows and marks it as done; see `RunFolder.write_unit`."""
        if not re.fullmatch(r"[\w-]+", unit):
            raise ValueError(f"{unit!r} is no name for a unit")
        with writing(self._folder.parent):
            self._folder.mkdir(exist_ok=True)
        if predictions is not None:  # first: the scores' file is the one that says done
            write_frame(self._predictions(unit), predictions, PREDICTIONS, heard)
        write_frame(self._scores(unit), scores, SCORES)
        self._known.add(unit)

    def done(self, predicted: bool) -> set[str]:
        """The units that need not be computed again; removes parts that cannot be read.

        Args:
            predicted: Whether only those count that have predictions.
        """
        units = set()
        for unit, path in self.files().items():
            predictions = self._predictions(unit)
            files = [p for p in (path, predictions) if p.exists()]
            if not all(is_whole(p) for p in files):
                log.warning("%s is damaged; it is computed again.", path)
                with writing(path):
                    for p in files:
                        p.unlink()
            elif predictions.exists() or not predicted:
                units.add(unit)
        self._known |= units
        return units

    def files(self) -> dict[str, Path]:
        """The files that mark units as done, by unit, sorted."""
        found = sorted(self._folder.glob("*.parquet"))
        return {path.stem: path for path in found if "." not in path.stem}

    def whole(self) -> list[str]:
        """All units, of which some have been written.

        Raises:
            ConfigError: Of those said to be done, some are lost.
            ValueError: There is none.
        """
        found = self.files()
        if not found:
            raise ValueError("nothing to complete: no unit was written")
        if lost := sorted(self._known - set(found)):
            raise ConfigError(
                f"{self._scores(lost[0])} and {len(lost) - 1} more have been lost; "
                f"the same command computes them again"
            )
        return list(found)

    def scores(self, units: Iterable[str], reasons: Mapping[int, str]) -> Iterator["pa.Table"]:
        """The scores of some units, marked with reasons to distrust a stage's.

        Raises:
            ConfigError: One of them cannot be read.
        """
        return (mark(read_table(self._scores(unit), SCORES), reasons) for unit in units)

    def predictions(self, units: Iterable[str]) -> Iterator[tuple["pa.Table", bytes | None]]:
        """The predictions of those of some units that have them, and what was kept beside.

        Raises:
            ConfigError: One of them cannot be read.
        """
        for path in map(self._predictions, units):
            if path.exists():
                yield read_table(path, PREDICTIONS), read_beside(path)

    def _scores(self, unit: str) -> Path:
        return self._folder / f"{unit}.parquet"

    def _predictions(self, unit: str) -> Path:
        return self._folder / f"{unit}.predictions.parquet"
