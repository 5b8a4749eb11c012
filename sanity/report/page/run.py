"""A completed run as a page knows it: its folder without its results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sanity.analysis.thresholds import Thresholds
from sanity.files import read_json
from sanity.results import recorded
from sanity.results.columns import counts


@dataclass
class Run:
    """A completed run.

    Attributes:
        path: Its folder.
        info: What run.json says.
        config: The configuration.
        values: The configuration's columns, as in `load_runs`.
    """

    path: Path
    info: dict[str, Any]
    config: dict[str, Any]
    values: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Run":
        """What there is to know of a run without its results."""
        info = read_json(path / "run.json") or {}
        values = dict(info.get("columns", {}))
        # Runs of different blocks do not belong together; in random order seeds differ in theirs.
        stages = [layer for layer in info.get("layers", [])[1:] if layer]
        values["blocks"] = ", ".join(sorted(stages))
        return cls(path, info, recorded.configuration(path), values)

    @property
    def shown(self) -> dict[str, Any]:
        """The values that set runs apart, or are worth saying."""
        return {key: value for key, value in self.values.items() if counts(key).shown}

    @property
    def seed(self) -> Any:
        """The seed, 0 where there is none."""
        return self.values.get("seed", 0)

    def thresholds(self, changes: Mapping[str, float] | None) -> dict[str, Any]:
        """That its verdicts are made by."""
        return {**vars(Thresholds()), **(self.config.get("verdict") or {}), **(changes or {})}

    @property
    def layers(self) -> list[str]:
        """The block randomized at each stage, "" at stage 0."""
        return list(self.info.get("layers", []))

    @property
    def blocks(self) -> list[dict[str, Any]]:
        """Name, parameters and, by stage, how many of them are random.

        Of a run that did not record them: without numbers, as its order has them.
        """
        if known := recorded.blocks(self.info):
            return known
        order = (self.config.get("randomization") or {}).get("order", "")
        stays = order.startswith(("cascading", "random"))
        layers = self.layers
        blocks = []
        for name in dict.fromkeys(layer for layer in layers if layer):
            at = [stage for stage, layer in enumerate(layers) if layer == name]
            changed = [
                int(stage in at or (stays and stage > at[0])) for stage in range(len(layers))
            ]
            blocks.append({"name": name, "parameters": None, "randomized": changed})
        return blocks


def groups(
    runs: Sequence[Run], differ: Mapping[str, list[str]]
) -> dict[tuple[str, ...], list[int]]:
    """The runs that differ in draws and parts of the images alone, by their other values."""
    found: dict[tuple[str, ...], list[int]] = {}
    for number in range(len(runs)):
        found.setdefault(tuple(differ[key][number] for key in differ), []).append(number)
    return found
