"""What a page says in plain words: its title, the answer, why, and what its terms mean."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypedDict

from sanity.analysis.judged import (
    ALIKE,
    DEPENDS,
    INCONCLUSIVE,
    INSENSITIVE,
    INVALID,
    NONE,
    SENSITIVE,
)
from sanity.analysis.verdicts import CASCADE
from sanity.report.page.data import Group
from sanity.report.page.run import Run
from sanity.results.recorded import model_file

_MODELS = {
    "efficientnet_lite": "EfficientNet-Lite",
    "inception_v": "Inception v",
    "mobilenet_v": "MobileNet v",
    "cnn": "a small CNN",
    "mlp": "a multilayer perceptron",
    "known_truth": "a network of known truth",
}
_IMAGES = {
    "imagenet_samples": "photograph",
    "animal_mnist": "drawing of animals",
    "mnist": "handwritten digit",
    "fashion_mnist": "picture of clothes",
    "digits": "handwritten digit",
}
_SCHEMES = {
    "cascading": "cascade",
    "cascading_bottom_up": "cascade from the input",
    "independent": "one block at a time",
    "full": "all weights at once",
    "labels": "trained on random labels",
    "random_order": "blocks in random order",
    "other_class": "another class explained",
}

GLOSSARY = {
    "verdict": "Whether a method's masks change when the network loses what it has learned.",
    "early": "How much of a mask stays over the early stages: 1 if it is unchanged, 0 if it is as"
    " similar to the original as the masks of other images are. One image may lie above 1, as all"
    " are divided by the mean way from 0 to 1.",
    "stages": "Stage 0 is the trained network; at each later one another block of it has random"
    " weights. In a cascade the early stages, the first third, take the decision away.",
    "null": "What the same mask scores against the original masks of other images: what there is"
    " in common without looking at this image.",
    "threshold": "Early similarity above it is insensitive, below it sensitive: half way from"
    " another image's mask to an unchanged one, if not set otherwise. It was fixed before the run.",
    "interval": "Where the mean over such images lies with 95 % confidence, given this draw of the"
    " random weights or, of several, over draws too. Half an image at 0 and half at 1 are added"
    " (Jeffreys' prior): so a few images that agree leave it wide, towards the middle.",
    "draw": "One choice of the random weights, by a seed. Another draw may come out differently.",
    "control": "A method that does not look at the network at all: it shows what no dependence, or"
    " no similarity, looks like.",
    "metric": "How alike two masks are: of their magnitude, their sign or their structure. The"
    " first of a run's metrics decides, ssim as in Adebayo et al. if none is chosen; another that"
    " says the opposite contradicts it.",
    INSENSITIVE: "Masks stay as they were although the network has lost its decision: they cannot"
    " show how it was made.",
    SENSITIVE: "Masks change with the network's weights, as they must. It does not prove that they"
    " are right.",
    DEPENDS: "The metric that decides says one thing, another metric the opposite.",
    ALIKE: "Masks of different images are nearly the same, so that this check cannot see whether"
    " they depend on the network.",
    INCONCLUSIVE: "The images do not decide it: the interval holds the threshold, there are too few"
    " images, or the metric cannot tell.",
    INVALID: "Scores or networks are broken, so that nothing can be said.",
    NONE: "Nothing is judged here: a control, a metric without a fixed value for equal masks, or a"
    " scheme that does not begin at the output.",
}

PAPERS = (
    ("Adebayo et al. 2018, the check", "https://arxiv.org/abs/1810.03292"),
    ("Sixt et al. 2020, why backprop rules fail it", "https://arxiv.org/abs/1912.09818"),
    ("Yona and Greenfeld 2021, what it cannot tell", "https://arxiv.org/abs/2110.14297"),
    ("Binder et al. 2023, its shortcomings", "https://arxiv.org/abs/2211.12486"),
)

_SAID = {
    INSENSITIVE: ("keeps its masks", "keep their masks", " though the last layers are random"),
    SENSITIVE: (
        "changes with the weights, which does not make it faithful",
        "change with the weights, which does not make them faithful",
        "",
    ),
    DEPENDS: ("depends on the metric", "depend on the metric", ""),
    ALIKE: ("paints nearly the same mask", "paint nearly the same mask", " for every image"),
    INCONCLUSIVE: ("remains undecided", "remain undecided", ""),
    INVALID: ("cannot be judged", "cannot be judged", ""),
}
_LEANS = {
    INSENSITIVE: ("seems to keep its masks", "seem to keep their masks", ""),
    SENSITIVE: ("seems to change", "seem to change", " with the weights"),
    DEPENDS: ("seems to depend on the metric", "seem to depend on the metric", ""),
}


class Part(TypedDict):
    """A part of the answer.

    Attributes:
        methods: That it is about; none where it is about all.
        said: Of them, without a stop.
    """

    methods: list[str]
    said: str


def title_of(runs: Sequence[Run], images: int) -> str:
    """A title in words: `EfficientNet-Lite0, 6 photographs, cascade`, `my.keras, 6 images, …`."""
    models = list(dict.fromkeys(model_file(run.config) or _model(run) for run in runs))
    data, schemes = _each(runs, "data"), _each(runs, "randomization")
    words = [models[0] if len(models) == 1 else f"{len(models)} models"]
    kind = _IMAGES.get(data[0]) if len(data) == 1 else None
    if kind:
        words.append(f"{images} {kind.replace(' ', 's ', 1) if ' of ' in kind else kind + 's'}")
        if images == 1:
            words[-1] = f"1 {kind}"
    else:
        words.append(f"{images} image{'' if images == 1 else 's'}")
    words.append(
        _SCHEMES.get(schemes[0], schemes[0]) if len(schemes) == 1 else f"{len(schemes)} schemes"
    )
    if len(runs) > 1:
        words.append(f"{len(runs)} runs")
    said = ", ".join(words)
    return said[0].upper() + said[1:] if said.startswith("a ") else said


def _each(runs: Sequence[Run], key: str) -> list[str]:
    """The values of a choice, in order; "unnamed" where a run does not say."""
    return list(dict.fromkeys(str(run.values.get(key) or f"unnamed {key}") for run in runs))


def _model(run: Run) -> str:
    """The name of a model that is no file of one's own."""
    (name,) = _each([run], "model")
    for start, words in _MODELS.items():
        rest = name.removeprefix(start)
        if name.startswith(start) and (not rest or rest.isdigit()):
            return words + rest
    return name


def headline(group: Group, metric: str, controls: Sequence[str]) -> list[Part]:
    """The answer by the metric that decides: a part a verdict, as one sentence."""
    rows = [
        row
        for row in group["verdicts"]
        if row["metric"] == metric and row["method"] not in controls
    ]
    rows.sort(key=lambda row: -row["early"] if _known(row["early"]) else math.inf)
    parts: list[Part] = []
    for verdict, said in _SAID.items():
        alike = [row for row in rows if row["verdict"] == verdict and not row.get("leans")]
        if alike:
            parts.append(_part(alike, said, verdict in (DEPENDS, INCONCLUSIVE, INVALID)))
    for verdict, said in _LEANS.items():
        alike = [row for row in rows if row.get("leans") == verdict]
        if alike:
            parts.append(_part(alike, said, because=False))  # of too few images: that is said below
    if not parts and rows:
        parts.append({"methods": [], "said": f"No verdicts: {reason(rows[0])}"})
    able = [row for row in rows if _known(row["early"]) and row["verdict"] not in (ALIKE, INVALID)]
    decided = {INSENSITIVE, SENSITIVE}
    if len(able) > 1 and not any({row["verdict"], row.get("leans")} & decided for row in rows):
        most, least = able[0], able[-1]
        said_ = (
            f"changes least (early similarity {most['early']:z.2f}), {least['method']}"
            f" most ({least['early']:z.2f})"
        )
        parts.append({"methods": [most["method"]], "said": said_})
    return parts


def _part(rows: Sequence[Mapping[str, Any]], said: tuple[str, str, str], because: bool) -> Part:
    words = said[0 if len(rows) == 1 else 1] + said[2]
    why = {reason(row) for row in rows}
    if because and len(why) == 1 and (one := why.pop()):
        words += f" ({one})"
    return {"methods": [row["method"] for row in rows], "said": words}


def certainty(group: Group, metric: str, controls: Sequence[str]) -> str:
    """How sure the answer is: by what, over how many images and draws."""
    rows = [
        row
        for row in group["verdicts"]
        if row["metric"] == metric and row["method"] not in controls
    ]
    images = max((row["images"] or 0 for row in rows), default=0)
    if not rows or not images:
        return ""
    seeds = len(group["seeds"])
    draws = "one draw of the random weights" if seeds == 1 else f"{seeds} draws of the weights"
    over = "1 image" if images == 1 else f"{images} images"
    least = group["thresholds"]["images"]
    sure = f", fewer than the {least} that a verdict takes" if images < least else ""
    against = _against(group, rows)
    lean = f" Others lean to the opposite for {_list(against)}." if against else ""
    return f"Judged by {metric}, over {over}{sure}, and {draws}.{lean}"


def _against(group: Group, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The methods of which other metrics lean to the opposite, with these metrics."""
    opposite = {INSENSITIVE: SENSITIVE, SENSITIVE: INSENSITIVE}
    found = []
    for row in rows:
        asked = opposite.get(row.get("leans") or row["verdict"])
        metrics = [
            other["metric"]
            for other in group["verdicts"]
            if other["method"] == row["method"]
            and other["metric"] != row["metric"]
            and (other.get("leans") or other["verdict"]) == asked
        ]
        if asked and metrics:
            found.append(f"{row['method']} ({', '.join(metrics)})")
    return found


def explanation(group: Group, metric: str, controls: Sequence[str]) -> dict[str, list[str]]:
    """Why, in plain words: what was done, what it shows, what it does not, what to do."""
    stages = len(group["layers"]) - 1
    if group["order"] == CASCADE:
        done = (
            f"Block by block, from the output to the input, the network's weights were replaced by"
            f" random ones, in {stages} stage{'' if stages == 1 else 's'}."
        )
    else:
        done = f"The network was changed in {stages} stage{'' if stages == 1 else 's'}"
        done += f" (order {group['order']})." if group["order"] else "."
    done += (
        " At each, every method explained the same images and classes again, and each new mask was"
        " compared with that of the trained network."
    )
    count = group["early"]
    early = (
        f"{'Stage 1 counts' if count == 1 else f'The early stages, 1 to {count}, count'}: there the"
        " network's decision is gone, while its lower blocks still see the image."
    )
    by: dict[str, list[str]] = {}
    decided: dict[str, list[str]] = {}
    leaning = []
    for row in group["verdicts"]:
        if row["metric"] == metric and row["method"] not in controls:
            by.setdefault(row.get("leans") or row["verdict"], []).append(row["method"])
            decided.setdefault(row["verdict"], []).append(row["method"])
            leaning += [row["method"]] if row.get("leans") else []
    some = {INSENSITIVE, SENSITIVE, DEPENDS} & set(decided)
    of = f"Of {_list(leaning)} this" if leaning and some else "This"
    unsure = [f"{of} is how it looks so far; more images must confirm it."] if leaning else []
    advised = decided if some else by  # of what is decided, if anything is
    return {
        "What was done": [done, *([early] if group["early"] else [])],
        "What it shows": [*unsure, *_shows(by, bool(controls))],
        "What it does not show": [
            "That a mask is right. A method whose masks change with the weights may still be wrong"
            " about what the network used.",
            "What another network, other images or another draw of the weights would give.",
        ],
        "What to do": [*_settle(group), *_advice(advised, group, _contradicted(group, advised))],
    }


def _shows(by: Mapping[str, list[str]], controls: bool) -> list[str]:
    said = []
    if by.get(INSENSITIVE):
        said.append(
            f"The masks of {_list(by[INSENSITIVE])} hardly change when the decision is lost. So"
            " they cannot explain it: they show what the image and the architecture give, such as"
            " edges."
        )
    if by.get(SENSITIVE):
        said.append(
            f"The masks of {_list(by[SENSITIVE])} depend on what was learned, as they must."
        )
    if by.get(DEPENDS):
        said.append(
            f"Of {_list(by[DEPENDS])} one aspect stays, such as where the mask is strong, and"
            " another changes, such as its sign: see the metrics side by side."
        )
    if by.get(ALIKE):
        said.append(f"{_list(by[ALIKE])} gives nearly one mask whatever the image.")
    if by.get(INCONCLUSIVE):
        said.append(f"Of {_list(by[INCONCLUSIVE])} these images do not decide it.")
    if not said:
        said.append("Nothing is judged here; read the curves and masks.")
    if controls:
        said.append("The controls show both ends: what never looks at the network, and chance.")
    return said


def _contradicted(group: Group, by: Mapping[str, list[str]]) -> set[str]:
    """The methods that change by the metric that decides, and stay by another."""
    rows = group["verdicts"]
    stays = {row["method"] for row in rows if INSENSITIVE in (row["verdict"], row.get("leans"))}
    return stays & set(by.get(SENSITIVE, []))


def _settle(group: Group) -> list[str]:
    said = group["settling"]
    return [f"First settle it: {said}"] if said else []


def _advice(by: Mapping[str, list[str]], group: Group, contradicted: Collection[str]) -> list[str]:
    said = []
    bad, good = by.get(INSENSITIVE, []), by.get(SENSITIVE, [])
    agreed = [name for name in good if name not in contradicted]
    if bad and agreed:
        said.append(
            f"Instead of {_list(bad)}, use {_list(agreed, 'or')} to ask why this network decides."
        )
    elif bad:
        said.append(f"Do not use {_list(bad)} to ask why this network decides.")
    if doubtful := [name for name in good if name in contradicted]:
        said.append(f"Other metrics contradict what is said of {_list(doubtful)}: see their masks.")
    if good:
        said.append(
            "Test those that pass where the answer is known: experiment=known_regions has images"
            " whose relevant region is given."
        )
    if by.get(INCONCLUSIVE) and not group["settling"]:
        said.append("For a decision, run more images (data.limit) or look at what is distrusted.")
    elif by.get(INVALID):
        said.append("See first what is to be distrusted, below.")
    if len(group["seeds"]) == 1 and (bad or good):
        said.append("To see whether it holds for other draws: seed=0,1,2 with -m.")
    return said


def _list(names: Sequence[str], word: str = "and") -> str:
    *some, last = names
    return f"{', '.join(some)} {word} {last}" if some else last


def reason(row: Mapping[str, Any]) -> str:
    """What was said before the numbers; "" where there is nothing but numbers."""
    first = str(row["evidence"]).partition(";")[0]
    return "" if first.startswith("early similarity") else first


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
