"""What would settle verdicts that are open: how many images or draws, and by which command."""

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sanity.analysis.intervals import LEVEL
from sanity.analysis.judged import INCONCLUSIVE
from sanity.files import read_json
from sanity.results.recorded import configuration, hydra_of, overrides_of, swept

if TYPE_CHECKING:
    import pandas as pd

# What the command says anew, or what belongs to one launch.
_STARTED = ["python", "-m", "sanity"]
_NOT_REPEATED = ("data.limit", "data.shard", "data.shards", "seed", "force", "dry_run")


@dataclass(frozen=True)
class Settling:
    """What would decide the verdicts that lean, or those for which more images are not enough.

    Attributes:
        images: How many it takes, if more are like those that there are; 0 where it is `draws`.
        command: That explains so many; None where no override brings them.
        instead: Then, what to do: a part of a sentence.
        draws: Of the weights: how many are tried next where draws differ too much for any number
            of images to decide.
    """

    images: int
    command: str | None
    instead: str | None = None
    draws: int = 0

    @property
    def said(self) -> str:
        """The command, or what to do instead of one."""
        return self.command or str(self.instead)


def settling(
    runs: Sequence[Path], found: "pd.DataFrame", *, elsewhere: bool = False
) -> Settling | None:
    """What would decide what leans by the primary metric; None where nothing would.

    Of one share of the images, or one draw of a sweep, all together come first. Where nothing
    leans, and draws of the weights differ too much for more images to decide, twice as many draws.
    Of methods that take more images than the data has, it says nothing if others take fewer.

    Args:
        runs: The folders of one scheme's runs, each of another seed or share of the images.
        found: Its verdicts, see `analysis.verdicts.verdicts`.
        elsewhere: Whether it is read in another place than this terminal, as a page is: without
            the path of this machine's Python.
    """
    leaning = found[found["primary"] & (found["leans"] != "")]
    program = _STARTED if elsewhere else _program()
    if not len(leaning):
        return _with_draws(runs, program, 2 * len(_seeds(runs))) if _draws_differ(found) else None
    if others := _others_of_sweep(runs, elsewhere):
        return Settling(0, None, others)
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
    command = _command(runs, images, program)
    return Settling(
        images, command, None if command else f"data.limit={images} in each of the runs"
    )


def _others_of_sweep(runs: Sequence[Path], elsewhere: bool) -> str | None:
    """What to do where other shards or draws, which are judged together, are missing; else None."""
    data = [configuration(run).get("data") or {} for run in runs]
    count, missing = data[0].get("shards"), []
    if isinstance(count, int) and len({one.get("shard") for one in data}) < count:
        missing.append(f"the images of all {count} shards")
    if len(_seeds(runs)) == 1 and "seed" in swept(runs[0]) and not _follows_seed(runs[0]):
        missing.append("all draws of the sweep")
    if not missing:
        return None
    here, folder = Path.cwd(), runs[0].absolute().parent
    shown = folder.relative_to(here) if folder.is_relative_to(here) else folder
    by = "" if elsewhere else f" by sanity-compare {shlex.quote(str(shown))}"
    return f"{' and '.join(missing)}, judged together{by}"


def _draws_differ(found: "pd.DataFrame") -> bool:
    """Whether a verdict of several draws is open though the metric could tell."""
    rows = found[found["primary"] & (found["verdict"] == INCONCLUSIVE) & (found["seeds"] > 1)]
    return bool((~(rows["p"] <= 1 - LEVEL)).any())


def other_draws(runs: Sequence[Path]) -> Settling | None:
    """What shows whether other draws of the weights agree: three; None where there are several.

    So it is of a single run too whose sweep has others.

    Args:
        runs: The folders of one scheme's runs.
    """
    if len(_seeds(runs)) > 1 or "seed" in swept(runs[0]):
        return None
    return _with_draws(runs, _program(), 3)


def _with_draws(runs: Sequence[Path], program: Sequence[str], count: int) -> Settling:
    """So many draws, with the fewer that there are among them."""
    seeds = [int(seed) for seed in _seeds(runs)]
    more = [seed for seed in range(count) if seed not in seeds][: count - len(seeds)]
    draws = [*seeds, *more]
    command = _command(runs, None, program, draws)
    said = f"seed={','.join(map(str, draws))} in each of the runs"
    if _made_elsewhere(runs):
        numbers = ", ".join(f"seed={seed}" for seed in draws)
        said = f"masks of other draws of the weights, a file each, with {numbers}"
    return Settling(0, command, None if command else said, len(draws))


def _images(info: Mapping[str, Any]) -> list[str]:
    """The names of a run's images."""
    return list((info.get("sha256") or {}).get("images") or ())


def _command(
    runs: Sequence[Path],
    images: int | None,
    program: Sequence[str],
    draws: Sequence[int] | None = None,
) -> str | None:
    """The command line of some runs with so many images; None if no single one makes them all.

    Args:
        runs: Of one scheme.
        images: How many; None: as many as they have.
        program: How it starts.
        draws: The seeds; None: theirs.
    """
    if _made_elsewhere(runs):  # by no command of ours
        return None
    repeated = [key for key in _NOT_REPEATED if images is not None or key != "data.limit"]
    kept = [[one for one in overrides_of(run) if _key(one) not in repeated] for run in runs]
    if any(one != kept[0] for one in kept[1:]):
        return None
    seeds = _seeds(runs) if draws is None else [str(seed) for seed in draws]
    words = [*program, *(["-m"] if len(seeds) > 1 else []), *_own_folders(hydra_of(runs[0]))]
    words += kept[0] if draws is None else [*kept[0], *_same_network(runs[0])]
    words += [f"seed={','.join(seeds)}"] if seeds != ["0"] else []
    words += [] if images is None else [f"data.limit={images}"]
    return shlex.join(words)


def _same_network(run: Path) -> list[str]:
    """What keeps a network that is trained here the same for other draws, as it has a seed too."""
    return [f"model.seed={configuration(run)['model']['seed']}"] if _follows_seed(run) else []


def _follows_seed(run: Path) -> bool:
    """Whether another seed is another network, as where it is trained here."""
    model = configuration(run).get("model") or {}
    told = any(_key(one) == "model.seed" for one in overrides_of(run))
    return model.get("seed") is not None and not told


def _made_elsewhere(runs: Sequence[Path]) -> bool:
    """Whether the masks of some runs are not ours, see `experiment.score_masks`."""
    return any("source" in configuration(run) for run in runs)


def _seeds(runs: Sequence[Path]) -> list[str]:
    """The seeds of the weights, each once."""
    return list(dict.fromkeys(str(configuration(run).get("seed", 0)) for run in runs))


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


def _own_folders(hydra: Mapping[str, Any]) -> list[str]:
    """How folders of configurations were given beside the job's overrides."""
    sources = (hydra.get("runtime") or {}).get("config_sources") or []
    found = [source["path"] for source in sources if source.get("provider") == "command-line"]
    words = ["--config-dir", found[0]] if found else []
    given = (hydra.get("overrides") or {}).get("hydra") or []
    return [*words, *(one for one in given if _key(one) == "hydra.searchpath")]
