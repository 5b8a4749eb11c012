"""What would settle verdicts that only lean: how many images, and by which command."""

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sanity.files import read_json
from sanity.results.recorded import configuration, hydra_of, overrides_of

if TYPE_CHECKING:
    import pandas as pd

# What the command says anew, or what belongs to one launch.
_STARTED = ["python", "-m", "sanity"]
_NOT_REPEATED = ("data.limit", "data.shard", "data.shards", "seed", "force", "dry_run")


@dataclass(frozen=True)
class Settling:
    """What would decide the verdicts that lean.

    Attributes:
        images: How many it takes, if more are like those that there are.
        command: That explains so many; None where no override brings them.
        instead: Then, what to do: a part of a sentence.
    """

    images: int
    command: str | None
    instead: str | None = None

    @property
    def said(self) -> str:
        """The command, or what to do instead of one."""
        return self.command or str(self.instead)


def settling(
    runs: Sequence[Path], found: "pd.DataFrame", *, elsewhere: bool = False
) -> Settling | None:
    """What would decide what leans by the primary metric; None where nothing does.

    Of methods that take more images than the data has, it says nothing if others take fewer.

    Args:
        runs: The folders of one scheme's runs, each of another seed or share of the images.
        found: Its verdicts, see `analysis.verdicts.verdicts`.
        elsewhere: Whether it is read in another place than this terminal, as a page is: without
            the path of this machine's Python.
    """
    leaning = found[found["primary"] & (found["leans"] != "")]
    if not len(leaning):
        return None
    infos = [read_json(run / "run.json") or {} for run in runs]
    data = configuration(runs[0]).get("data") or {}
    there = (infos[0].get("counts") or {}).get("available")
    selected = len(
        {name for info in infos for name in (info.get("sha256") or {}).get("images", ())}
    )
    # Images without a score are expected among more of them as well.
    lost = selected / leaning["images"].max() if selected else 1.0
    takes = sorted(int(-(-count * max(1.0, lost) // 1)) for count in leaning["enough"])
    able = [count for count in takes if there is None or count <= there]
    images = able[-1] if able else takes[0]
    if not able:
        return Settling(images, None, f"{images} images like these: the data has {there}")
    if data.get("names") is not None:
        return Settling(images, None, f"{images} images in data.names")
    if data.get("limit") is None:
        return Settling(images, None, f"{images} images like these")
    command = _command(runs, images, _STARTED if elsewhere else _program())
    return Settling(
        images, command, None if command else f"data.limit={images} in each of the runs"
    )


def _images(info: Mapping[str, Any]) -> list[str]:
    """The names of a run's images."""
    return list((info.get("sha256") or {}).get("images") or ())


def _command(runs: Sequence[Path], images: int, program: Sequence[str]) -> str | None:
    """The command line of some runs with so many images; None if no single one makes them all."""
    kept = [[one for one in overrides_of(run) if _key(one) not in _NOT_REPEATED] for run in runs]
    if any(one != kept[0] for one in kept[1:]):
        return None
    seeds = list(dict.fromkeys(str(configuration(run).get("seed", 0)) for run in runs))
    words = [*program, *(["-m"] if len(seeds) > 1 else []), *_config_dir(hydra_of(runs[0]))]
    words += kept[0]
    words += [f"seed={','.join(seeds)}"] if seeds != ["0"] else []
    return shlex.join([*words, f"data.limit={images}"])


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _program() -> list[str]:
    """How this program is started: by the Python it runs in."""
    own, found = Path(sys.executable), shutil.which("python")
    if found is not None and Path(found).absolute() == own.absolute():
        return _STARTED
    here = Path.cwd()
    shown = own.relative_to(here) if own.is_relative_to(here) else own
    return [str(shown), "-m", "sanity"]


def _config_dir(hydra: Mapping[str, Any]) -> list[str]:
    """A folder of configurations that was given beside the overrides."""
    sources = (hydra.get("runtime") or {}).get("config_sources") or []
    found = [source["path"] for source in sources if source.get("provider") == "command-line"]
    return ["--config-dir", found[0]] if found else []
