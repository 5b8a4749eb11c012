"""The data that a page carries: one JSON in it, field by field.

Whatever is a list by stage has stage 0, the network as trained, first. NaN is null there.
"""

from typing import Any, TypedDict


class Metric(TypedDict):
    """What there is to know of a metric.

    Attributes:
        name: Its name.
        identity: What a mask has with itself; None if there is no one number.
        unrelated: What masks with nothing in common have; None where that is not known.
        speaks_for: What of a mask it compares: magnitude, sign or structure; "" if not known.
        primary: Whether verdicts are made by it.
    """

    name: str
    identity: float | None
    unrelated: float | None
    speaks_for: str
    primary: bool


class Curve(TypedDict):
    """A method's scores by a metric, lists by stage.

    Attributes:
        mean: Over images and seeds.
        low: Lower end of its 95 % interval.
        high: Upper end.
        null: Mean null.
        images: How many have a value in all seeds.
        missing: How many scores are not finite.
    """

    mean: list[float]
    low: list[float]
    high: list[float]
    null: list[float]
    images: list[int]
    missing: list[int]


class Each(TypedDict):
    """A method's early similarity by a metric, image by image; their mean is the verdict's.

    Attributes:
        image: Number in `Group.images`.
        value: (score − null) over the mean of (identity − null).
    """

    image: list[int]
    value: list[float]


class Group(TypedDict):
    """Runs that differ in draws and in parts of the images alone.

    Attributes:
        label: What sets it apart, "" if it is the only one.
        values: The same, by key.
        layers: The block randomized at each stage, "" at stage 0.
        runs: Numbers of its runs.
        seeds: Of its runs.
        order: In which blocks are randomized; None if there is none.
        early: How many stages are early; 0 where nothing is judged.
        thresholds: See `analysis.thresholds`.
        missing: How many scores are not finite, and why; None if none is.
        curves: By metric and method.
        verdicts: Rows of `analysis.verdicts`, with `word`, as they are read.
        settling: What would decide verdicts that lean: a command, or what to do; None if none do.
        blends: By metric and method what tells whether the metric discriminates: scores of masks
            that are mostly own, and mostly another's, see `analysis.discrimination`.
        outlived: What survives a full cascade, where that is so much that there is no verdict.
        whole: Whether there are all methods and metrics that the runs' verdicts were made from.
        images: Names.
        each: By metric and method; of many images a part, the lowest and the highest among them.
    """

    label: str
    values: dict[str, str]
    layers: list[str]
    runs: list[int]
    seeds: list[str]
    order: str | None
    early: int
    thresholds: dict[str, Any]
    missing: str | None
    curves: dict[str, dict[str, Curve]]
    verdicts: list[dict[str, Any]]
    settling: str | None
    blends: dict[str, dict[str, list[float]]]
    outlived: str | None
    whole: bool
    images: list[str]
    each: dict[str, dict[str, Each]]


class Picture(TypedDict):
    """An explained image of a run.

    Attributes:
        image: Its name.
        role: `typical`, `best`, `worst` (kept as it is by how much its masks stay), or "".
        photo: A data URL; None if it is not stored.
        masks: By method and style, see `Sprite`.
        predictions: By stage: stage, class predicted, its probability, class explained, its
            probability.
    """

    image: str
    role: str
    photo: str | None
    masks: dict[str, dict[str, "Sprite"]]
    predictions: list[list[Any]]


class Sprite(TypedDict):
    """A method's masks of an image, of all stages that the page carries, one below the other.

    Attributes:
        png: A data URL of greys: 0 to 62 with 31 for zero if signed, 0 to 31 if absolute.
        special: By stage carried: `NaN`, `infinite`, `constant`, or "".
    """

    png: str
    special: list[str]


class RunData(TypedDict, total=False):
    """What is shown of a run beside its scores.

    Attributes:
        id: Its name.
        path: Its folder.
        group: Number of its group.
        seed: Its seed.
        values: What sets it apart from others.
        blocks: Name, parameters and, by stage, how many are random.
        layers: See `Group.layers`.
        shares: By stage: of the logits' variance that which lies between images.
        complaints: By stage: what is wrong with the network, "" if nothing.
        classes: Names by number.
        curves: See `Group.curves`; only where a group has several runs.
        pictures: Of images whose masks the page carries.
        stages: Those carried.
        size: (height, width) of a mask on the page.
        shape: (height, width) of a stored mask.
        stored: How many images' masks are stored.
    """

    id: str
    path: str
    group: int
    seed: str
    values: dict[str, str]
    blocks: list[dict[str, Any]]
    layers: list[str]
    shares: list[float]
    complaints: list[str]
    classes: dict[int, str]
    curves: dict[str, dict[str, Curve]]
    pictures: list[Picture]
    stages: list[int]
    size: list[int]
    shape: list[int]
    stored: int


class Page(TypedDict):
    """All that a page shows.

    Attributes:
        methods: Names, controls last.
        controls: Those that do not look at the network.
        metrics: The one that verdicts are made by first.
        differ: The values of each key in which runs differ.
        groups: See `Group`.
        runs: See `RunData`.
        rows: All scores, a list a column; numbers stand for names. None where there are too many.
        n_rows: How many scores there are.
        images: How many images.
        carried: Of how many `runs` the page has masks, `of` how many that stored some.
    """

    methods: list[str]
    controls: list[str]
    metrics: list[Metric]
    differ: dict[str, list[str]]
    groups: list[Group]
    runs: list[RunData]
    rows: dict[str, Any] | None
    n_rows: int
    images: int
    carried: dict[str, int]
