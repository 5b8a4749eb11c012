"""The run folder: written unit by unit, resumed after a crash, complete or visibly not.

A unit is what the experiment's loop finishes at a time, say one group of images at one stage. Its
masks are written first, then its rows, in one file under `parts/`: that file is what marks the
unit as done. `RunFolder.complete` joins the parts. Every file is replaced at once, so a process
killed at any moment leaves nothing half-written that a later one would trust.
"""

import logging
import os
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from sanity.errors import ConfigError
from sanity.files import FolderLock, now, read_json, remove, replace_file, write_json, writing
from sanity.results import recorded
from sanity.results.columns import config_columns
from sanity.results.masks import MaskStore, layout_of, pack_images, read_layout
from sanity.results.parts import Parts
from sanity.results.tables import (
    PREDICTIONS,
    SCORES,
    damage,
    is_whole,
    join,
    make_table,
    read_table,
    write_tables,
)

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


class RunFolder:
    """One run's folder, held by one process; made by `RunFolder.open`.

    Attributes:
        path: The folder; its name is the run's id. `start` makes it.
        status: As found on opening: `new`, `interrupted` (killed or stopped by hand), `failed` or
            `completed`. All but `completed` can be started.
        info: What run.json says, kept up to date.
    """

    path: Path
    status: str
    info: dict[str, Any]

    def __init__(
        self,
        path: Path,
        config: dict[str, Any],
        overrides: list[str],
        hydra: Mapping[str, Any] | None,
        force: bool,
    ):
        self.path = path
        self._config, self._overrides, self._hydra, self._force = config, overrides, hydra, force
        self._lock = FolderLock(path)
        self._masks: MaskStore | None = None
        self._running = False
        self._predicted = False  # whether all predictions have been written at once
        self._parts = Parts(path)
        self._look()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        config: dict[str, Any],
        overrides: Sequence[str] = (),
        hydra: Mapping[str, Any] | None = None,
        *,
        force: bool = False,
        wait: bool = True,
    ) -> Self:
        """Locks a run folder and looks at what is there; writes nothing into it yet.

        Use it in a `with` statement, which ends the lock and records an exception that passes. A
        completed run is not locked, as nothing will be written.

        Args:
            path: The folder, which need not exist.
            config: The resolved configuration.
            overrides: The command line's overrides.
            hydra: Hydra's own configuration; its `runtime.choices` become columns of `load_runs`.
            force: Treat what is there as not there; `start` then clears it.
            wait: If another process has the folder, wait for it; otherwise raise.

        Raises:
            ConfigError: The folder is in use, cannot be written, or is complete but damaged.
        """
        run = cls(Path(path).absolute(), config, list(overrides), hydra, force)
        if run.status == "completed" and not run._leftovers() and not run._damaged():
            return run
        run._lock.acquire(wait)
        try:
            run._look()  # the process waited for may have finished it
            if run.status == "completed":
                if damaged := run._damaged():
                    raise damage(damaged)
                run._tidy()
        except BaseException:
            run.close()
            raise
        return run

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is not None:
                self.fail(error)
        finally:
            self.close()

    def close(self) -> None:
        """Ends the lock."""
        self._running = False
        self._lock.release()

    @property
    def log_path(self) -> Path:
        """Where the log belongs; the folder exists once `start` has returned."""
        return self.path / "sanity.log"

    # Status

    def start(self, info: Mapping[str, Any]) -> None:
        """Marks the run as running and writes run.json and `.hydra/`.

        Resuming keeps what was recorded where `info` says nothing else; a new or forced run
        clears what an earlier one left.

        Args:
            info: Versions, counts, batch sizes and so on, as JSON can hold them. `sha256`, a
                mapping of files to hashes, must be what it was when the run began.

        Raises:
            ConfigError: A model or image file has changed, or the folder cannot be written.
        """
        if self.status == "completed":
            raise ValueError(f"{self.path} is completed: open it with force=True to run it again")
        if self.status == "new":
            self._clear()
        else:
            self.check_files(info.get("sha256", {}))
            recorded.warn_of_versions(self.info.get("versions", {}), info.get("versions", {}))
            self._tidy()
        recorded.write_config(self.path, self._config, self._overrides, self._hydra)
        earlier = {k: v for k, v in self.info.items() if k not in ("error", "traceback")}
        if earlier:
            resumption = recorded.note_resumption(self.path, earlier)
            earlier["resumed"] = [*earlier.get("resumed", []), resumption]
        self.info = {
            "run": self.path.name,
            "started": now(),
            **earlier,
            **info,
            "status": "running",
            "columns": config_columns(self._config, self._hydra),
        }
        self._write_info()
        self._running = True

    def check_files(self, sha256: Mapping[str, Any]) -> None:
        """Compares the hashes of model and image files with those the run was computed from.

        Raises:
            ConfigError: They differ.
        """
        recorded.refuse_other_files(self.path, self.info.get("sha256", {}), sha256)

    def complete(
        self, info: Mapping[str, Any] | None = None, reasons: Mapping[int, str] | None = None
    ) -> None:
        """Joins the parts into scores.parquet and predictions.parquet and marks the run completed.

        Predictions that were written at once stay. A crash between any two of its steps is repaired
        by opening, starting and completing again.

        Args:
            info: Added to run.json.
            reasons: By stage, why its scores are not to be trusted.

        Raises:
            ConfigError: A part is damaged or lost, or the folder cannot be written.
        """
        self._check_running()
        units = self._parts.whole()
        scores = self._parts.scores(units, reasons or {})
        rows = write_tables(self.path / "scores.parquet", scores, SCORES)
        predictions = [table for table, _ in self._parts.predictions(units)]
        if predictions and not self._predicted:
            write_tables(self.path / "predictions.parquet", predictions, PREDICTIONS)
        finished = {"status": "completed", "finished": now(), "rows": rows}
        self.info = {**self.info, **(info or {}), **finished}
        self._write_info()
        self._running = False
        self._tidy()

    def fail(self, error: BaseException) -> None:
        """Records why the run stopped, unless it isn't running; leaving the `with` does it too.

        A KeyboardInterrupt or SystemExit leaves the status `interrupted`, anything else `failed`.
        It never raises: on a full disk run.json goes on saying `running`, which can be resumed
        just as well.
        """
        if not self._running:
            return
        self._running = False
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            self.info["status"] = "interrupted"
        else:
            self.info["status"] = "failed"
            self.info["error"] = f"{type(error).__name__}: {error}"
            self.info["traceback"] = "".join(traceback.format_exception(error))
        try:
            self._write_info()
        except ConfigError as unwritten:
            log.warning("%s", unwritten)

    def settle(self, name: str, value: Any) -> Any:
        """What was settled under a name when the run began: recorded now, unless it was before.

        So a run that is gone on with keeps to what its finished units were made with.
        """
        self._check_running()
        if name not in self.info:
            self.info[name] = value
            self._write_info()
        return self.info[name]

    # Rows

    def write_unit(
        self,
        unit: str,
        scores: "pd.DataFrame",
        predictions: "pd.DataFrame | None" = None,
        heard: bytes | None = None,
    ) -> None:
        """Stores a unit's rows and marks it as done; its masks must have been written before.

        Args:
            unit: Its name: letters, digits, `_` and `-`. The sorted names give the rows' order.
            scores: The columns of `SCORES` (`null` and `reason` may be missing).
            predictions: The columns of `PREDICTIONS`, where they are not written all at once.
            heard: What `predictions` is to give back beside them.
        """
        self._check_running()
        if self._masks:
            self._masks.sync()
        self._parts.write(unit, scores, predictions, heard)

    def write_predictions(self, predictions: "Iterable[pd.DataFrame]") -> None:
        """Stores all predictions, in parts of which few are held at a time."""
        self._check_running()
        tables = (make_table(frame, PREDICTIONS) for frame in predictions)
        write_tables(self.path / "predictions.parquet", tables, PREDICTIONS)
        self._predicted = True

    def predictions(self, units: Sequence[str]) -> "Iterator[tuple[pd.DataFrame, bytes | None]]":
        """Those that some units were written with, and what was kept beside."""
        return ((table.to_pandas(), heard) for table, heard in self._parts.predictions(units))

    def done(self, predicted: bool = False) -> set[str]:
        """The units that need not be computed again; removes parts that cannot be read.

        Call it after `create_masks`, which discards the units of a store it has to make anew.

        Args:
            predicted: Whether only those count that were written with predictions.
        """
        return set() if self._is_anothers else self._parts.done(predicted)

    def scores(self, reasons: Mapping[int, str] | None = None) -> "pd.DataFrame":
        """The rows of all units done, in the order that scores.parquet has or will have.

        Args:
            reasons: By stage, why its scores are not to be trusted.
        """
        if self.info.get("status") == "completed":
            rows: pd.DataFrame = read_table(self.path / "scores.parquet", SCORES).to_pandas()
            return rows
        units = () if self._is_anothers else self._parts.files()
        rows = join(self._parts.scores(units, reasons or {}), SCORES).to_pandas()
        return rows

    # Masks

    def mask_shapes(self) -> dict[str, tuple[int, ...]] | None:
        """Each method's mask shape in the store that is there; None if there is no whole one."""
        layout = read_layout(self.path / "masks.zarr")
        return None if layout is None else layout[2]

    def create_masks(
        self, images: Sequence[str], stages: Sequence[str], methods: Mapping[str, tuple[int, ...]]
    ) -> None:
        """Lays out masks.zarr, NaN where nothing is written, or reuses the one that is there.

        A store that does not fit is made anew, and the units done are discarded with it.

        Args:
            images: The names of the images whose masks are kept: the first ones, or none.
            stages: The layer randomized at each stage, "" for stage 0.
            methods: Each method's mask shape, (H, W) or (H, W, C); H, W and C the same for all.
        """
        self._check_running()
        if not images or not methods:
            return
        path, layout = self.path / "masks.zarr", layout_of(images, stages, methods)
        if read_layout(path) == layout:
            self._masks = MaskStore.open(path, layout)
            return
        if path.exists() or self._parts.files():
            log.warning("%s does not fit the run, which starts again.", path)
        with writing(self.path):
            remove(self.path / "parts")
        self._masks = MaskStore.create(path, layout)

    def write_images(self, names: Sequence[str], images: np.ndarray) -> None:
        """Stores explained images, (n, H, W, C) in [0, 1], with 8 bits; see `load_images`."""
        self._check_running()
        replace_file(self.path / "images.npz", pack_images(names, images))

    @property
    def kept(self) -> int:
        """How many images' masks are stored: the first ones."""
        return self._masks.n_images if self._masks else 0

    def write_masks(self, method: str, images: slice | range, stage: int, masks: Any) -> None:
        """Stores one method's masks of some images at one stage, float32 (n, H, W[, C]).

        Images beyond the kept ones are dropped.
        """
        self._check_running()
        masks = np.asarray(masks, np.float32)
        if images.stop - images.start != len(masks):
            raise ValueError(f"{len(masks)} masks for images {images.start} to {images.stop}")
        if self._masks:
            self._masks.write(method, images.start, stage, masks)

    def read_masks(self, method: str, images: slice | range, stage: int) -> np.ndarray:
        """One method's masks of some kept images at one stage, float32 (n, H, W[, C]).

        Raises:
            ConfigError: The store is damaged.
            ValueError: Not all of these images' masks are kept.
        """
        if not self._masks:
            raise ValueError("no masks are kept")
        return self._masks.read(method, images.start, images.stop, stage)

    # Inside

    def _look(self) -> None:
        """Sets `status` and `info` to what the folder holds."""
        self.status, self.info = "new", {}
        if self._force:
            return
        path = self.path / "run.json"
        info = read_json(path)
        if info is not None:
            self.info = info
            status = info.get("status")
            self.status = status if status in ("completed", "failed") else "interrupted"
        elif path.exists() and (self.path / "scores.parquet").exists():
            if not (self.path / "parts").exists():
                raise damage(path)  # it was complete: not for us to throw away

    def _damaged(self) -> Path | None:
        """The first file of a completed run that cannot be read."""
        scores, predictions = self.path / "scores.parquet", self.path / "predictions.parquet"
        for path in (scores, predictions) if predictions.exists() else (scores,):
            if not is_whole(path, read=False):
                return path
        return None

    def _check_running(self) -> None:
        if not self._running:
            raise ValueError(f"{self.path} is not open for writing: call start() first")

    @property
    def _is_anothers(self) -> bool:
        """Whether the parts are those of another run, which `start` clears."""
        return self.status == "new" and not self._running

    def _write_info(self) -> None:
        write_json(self.path / "run.json", self.info)

    def _leftovers(self) -> list[Path]:
        """What a crash leaves: unfinished files, and the parts of a run that is completed."""
        left = [*self.path.glob(".*.tmp"), *self.path.glob("*/.*.tmp")]
        parts = self.path / "parts"
        return [*left, parts] if self.info.get("status") == "completed" and parts.exists() else left

    def _tidy(self) -> None:
        """Removes them; what cannot be removed now is tried again on the next opening."""
        with suppress(OSError):
            for path in self._leftovers():
                remove(path)

    def _clear(self) -> None:
        """Removes an earlier run's files, and no others."""
        with writing(self.path):
            for name in recorded.OWNED:  # run.json first: without it the rest counts for nothing
                remove(self.path / name)
        self._tidy()
