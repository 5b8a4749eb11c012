"""Masks made elsewhere, scored like ours."""

import json
import pickle
import re
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
import scipy.special
import scipy.stats
import xarray as xr
import zarr

import sanity
from sanity import ConfigError
from sanity.commands.score import main
from sanity.experiment.score_masks import score_masks
from sanity.metrics import Spearman, score
from sanity.randomness import generator
from sanity.results.given import read_given
from tests.command import ROOT
from tests.report.runs import make_run
from tests.test_hostile_results import Evil

NAMES = [f"photo {i}.jpg" for i in range(7)]
LAYERS = ["trained", "head", "body", "stem"]
STAYS = {"gradient": 0.0, "guided": 1.0, "edges": 1.0}  # share of a mask that stays
FAST = ["metric=[spearman,ssim]", "metric.ssim.sigma=0.6", "null_images=2"]


def masks_of(method, channels=3):
    shape = (16, 12, channels)[: 3 if channels else 2]
    stages = []
    for stage in range(len(LAYERS)):
        kept = STAYS[method] if stage else 1.0
        own = [generator(method, name).standard_normal(shape) for name in NAMES]
        noise = [generator(method, name, stage).standard_normal(shape) for name in NAMES]
        stages.append(kept * np.array(own) + (1 - kept) * np.array(noise))
    return np.stack(stages, axis=1)


def arrays(**more):
    masks = {m: masks_of(m, 0 if m == "edges" else 3).astype(np.float32) for m in STAYS}
    return {**masks, "image": np.array(NAMES), "layer": np.array(LAYERS), **more}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def unfinished(monkeypatch):
    """Without figures and page, which take longer than all else."""
    monkeypatch.setattr("sanity.experiment.score_masks.finish", lambda run: None)


def of_kind(kind, path, content):
    """The same content as an .npz file or a Zarr store, its dimensions named or not."""
    if kind == "npz":
        np.savez(path / "their masks.npz", **content)
        return path / "their masks.npz"
    place = path / "their masks.zarr"
    if kind == "zarr 2, by order":
        group = zarr.open_group(place, mode="w", zarr_format=2)
        for name, values in content.items():
            values = values.astype(object) if values.dtype.kind == "U" else values
            group.create_array(name, shape=values.shape, dtype=str if values.dtype == object
                               else values.dtype)[...] = values  # fmt: skip
        return place
    dims = ("image", "stage", "y", "x", "channel")
    data = {m: (dims[: v.ndim], v) for m, v in content.items() if v.ndim > 3}
    if kind == "xarray, turned":
        data = {m: (d[::-1], v.transpose()) for m, (d, v) in data.items()}
    labels = {"image": content["image"], "layer": ("stage", content["layer"])}
    dataset = xr.Dataset(data, coords={**labels, "stage": range(len(LAYERS))})
    dataset.to_zarr(place, consolidated=False)
    return place


@pytest.mark.parametrize("kind", ["npz", "xarray", "xarray, turned", "zarr 2, by order"])
@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
@pytest.mark.filterwarnings("ignore:.*consolidated metadata:RuntimeWarning")
def test_every_format_reads_the_same(kind, here):
    given = read_given(of_kind(kind, here, arrays()))
    assert given.images == NAMES and given.layers == ["", *LAYERS[1:]]
    assert given.shapes == {"gradient": (16, 12, 3), "guided": (16, 12, 3), "edges": (16, 12)}
    for method, values in arrays().items():
        if method in given.shapes:
            assert np.array_equal(given.read(method, range(2, 5), 1), values[2:5, 1])
    assert given.targets.tolist() == [-1] * 7 and given.logits is None


def test_scores_nulls_verdicts_and_page(here, monkeypatch):
    """As of a run of ours: by our metrics, with other images' masks as nulls."""
    monkeypatch.setattr("sanity.report.finish.draw", lambda run: None)
    logits = generator("logits").standard_normal((7, 4, 20))
    logits[:, 2:] = logits[:1, 2:]  # from there on the network is dead
    content = arrays(logits=logits, target=np.arange(7), images=np.zeros((7, 16, 12, 3), np.uint8))
    path = of_kind("npz", here, content)
    result = score_masks(path, [*FAST, "randomization=cascading", "model=theirs", "seed=3",
                                "controls=[edges]", "name=captum", "masks.keep=1"])  # fmt: skip
    scores = sanity.load_runs("outputs")
    assert len(scores) == 7 * 4 * 3 * 2 and set(scores["status"]) == {"completed"}
    chosen = scores[(scores["metric"] == "spearman") & (scores["method"] == "gradient")]
    own = content["gradient"]
    expected = score(Spearman(), own[:, 0], own[:, 2])
    assert np.allclose(chosen.loc[chosen["stage"] == 2, "value"], expected)
    assert chosen["null"].notna().all() and abs(chosen["null"].mean()) < 0.1
    row = chosen.iloc[0]
    assert (row["model"], row["randomization"], row["seed"]) == ("theirs", "cascading", 3)
    assert list(dict.fromkeys(chosen["layer"])) == LAYERS
    answer = result.verdicts[result.verdicts["metric"] == "spearman"].set_index("method")["verdict"]
    assert answer.to_dict() == {
        "gradient": "sensitive", "guided": "insensitive", "edges": "none",
    }  # fmt: skip
    predictions = sanity.load_predictions("outputs")
    first = predictions[predictions["stage"] == 0].set_index("image").loc[content["image"]]
    softmax = scipy.special.softmax(logits[:, 0], axis=1)
    np.testing.assert_allclose(first["entropy"], scipy.stats.entropy(softmax, axis=1))
    np.testing.assert_allclose(first["probability"], softmax.max(axis=1))
    np.testing.assert_allclose(first["target_logit"], np.diagonal(logits[:, 0]))
    shares = predictions.groupby("stage")["between_share"].first()
    assert len(scores.merge(predictions)) == len(scores)
    assert shares[0] > 0.5 and shares[2] < 1e-9
    assert result.report.exists() and len(result.images) == 1
    assert np.array_equal(result.masks.guided.values, content["guided"][:1])
    assert sanity.pairwise_tests(scores)["method"].tolist() == ["gradient"] * 2


def test_a_metric_that_cannot_tell_gives_no_verdict_here_either(here, unfinished):
    """With a quarter of another mask's tiles noise is not 0.9 alike: by that, all would be low."""
    result = score_masks(
        of_kind("npz", here, arrays()), [*FAST, "randomization=cascading", "verdict.threshold=0.9"]
    )
    rows = result.verdicts[result.verdicts["metric"] == "spearman"].set_index("method")
    assert rows.loc["gradient", "verdict"] == "inconclusive"
    assert "it is too strict to say sensitive" in rows.loc["gradient", "why"]
    assert rows.loc["guided", "early"] == pytest.approx(1)


def test_the_same_masks_are_the_same_run_and_others_are_not(here, unfinished, caplog):
    path = of_kind("npz", here, arrays())
    first = score_masks(path, FAST)
    assert "No verdict is given" in caplog.text and "logits" in caplog.text
    assert set(first.verdicts["verdict"]) == {"none"}
    written = (first / "run.json").stat().st_mtime_ns
    copy = here / "their_masks.npz"
    path.rename(copy)
    again = score_masks(copy, [*FAST, "runtime.progress=none", f"output={here / 'outputs'}"])
    assert (again.path, (again / "run.json").stat().st_mtime_ns) == (first.path, written)
    others = [[*FAST, "seed=1"], [*FAST, "model=mine"], [*FAST, "metric.ssim.sigma=0.5"]]
    assert len({score_masks(copy, asked).path for asked in others} | {first.path}) == 4
    changed = {**arrays(), "gradient": masks_of("gradient").astype(np.float32) + 1}
    np.savez(copy, **changed)
    assert score_masks(copy, FAST).path != first.path


def test_the_masks_of_a_run_of_ours_get_its_scores(here, unfinished):
    run = make_run(here / "run")
    result = score_masks(run / "masks.zarr", ["metric=[spearman]"])
    assert set(result.scores["method"]) == {"gradient", "guided_backprop", "edge_detector"}
    assert np.allclose(result.scores.loc[result.scores["stage"] == 0, "value"], 1)


def test_named_dimensions_must_be_those_of_masks(here):
    dims = ("image", "y", "x", "channel")
    xr.Dataset({"a": (dims, np.zeros((2, 2, 4, 4)))}).to_zarr("a.zarr", consolidated=False)
    with pytest.raises(ConfigError, match=r"image × y × x × channel, and masks are numbers, image"):
        read_given("a.zarr")


def test_one_image_and_masks_beyond_single_precision(here, unfinished):
    masks = masks_of("gradient", 0)[:1] * 1e-60
    np.savez("one.npz", gradient=masks)
    scores = score_masks("one.npz", ["metric=[spearman]"]).scores
    assert scores["value"].notna().all() and scores["null"].notna().all()


BAD = {
    "no such file": (None, "does not exist"),
    "text": (b"hello", "cannot be read"),
    "empty": ({}, "holds no masks"),
    "one stage": ({"a": np.zeros((2, 1, 4, 4))}, "one stage"),
    "no images": ({"a": np.zeros((0, 2, 4, 4))}, "masks are numbers"),
    "a vector": ({"a": np.zeros(3)}, r"a is an array of shape \(3,\)"),
    "words": ({"a": np.full((1, 2, 4, 4), "x")}, "of type 'U'"),
    "complex": ({"a": np.zeros((1, 2, 4, 4), complex)}, "of type 'c'"),
    "sizes": (
        {"a": np.zeros((2, 2, 4, 4)), "b": np.zeros((2, 2, 4, 5))}, "b is 2×2×4×5 and a 2×2×4×4"
    ),
    "depths": (
        {"a": np.zeros((2, 2, 4, 4, 3)), "b": np.zeros((2, 2, 4, 4, 2))}, "one number of channels"
    ),
    "a path": ({"../../a": np.zeros((2, 2, 4, 4))}, "must be a plain name of a method"),
    "names": ({"a": np.zeros((2, 2, 4, 4)), "image": np.array(["x"])}, "a name an image"),
    "equal names": ({"a": np.zeros((2, 2, 4, 4)), "image": np.array(["x", "x"])}, "same name"),
    "targets": ({"a": np.zeros((2, 2, 4, 4)), "target": np.zeros(2)}, "a class an image"),
    "logits": ({"a": np.zeros((2, 2, 4, 4)), "logits": np.zeros((2, 3, 5))}, "stage × class"),
    "beyond the classes": (
        {"a": np.zeros((2, 2, 4, 4)), "logits": np.zeros((2, 2, 5)), "target": np.array([1, 5])},
        "target has 5, and logits has 5 classes",
    ),
    "no classes": (
        {"a": np.zeros((2, 2, 4, 4)), "logits": np.zeros((2, 2, 1)), "target": np.array([0, 1])},
        "logits has one number an image, which is of no class: leave target out",
    ),
    "no class": ({"a": np.zeros((2, 2, 4, 4)), "target": np.array([1, -2])}, "target has -2"),
    "reversed": ({"a": np.zeros((2, 3, 4, 4)), "stage": np.arange(3)[::-1]}, "stage is 2, 1, 0"),
    "some stages": ({"a": np.zeros((2, 3, 4, 4)), "stage": np.arange(3) * 5}, "stage is 0, 5, 10"),
    "bright": (
        {"a": np.zeros((2, 2, 4, 4)), "images": np.full((2, 4, 4, 3), 255.0)}, "from 255 to 255"
    ),
    "16 bits": (
        {"a": np.zeros((2, 2, 4, 4)), "images": np.zeros((2, 4, 4, 3), np.uint16)}, "of 8 bits"
    ),
    "small": ({"a": generator("small").random((2, 2, 4, 4))}, "metric.ssim"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_what_will_not_do_is_one_sentence(kind, here, capsys):
    content, message = BAD[kind]
    if isinstance(content, bytes):
        (here / "bad.npz").write_bytes(content)
    elif content is not None:
        np.savez("bad.npz", **content)
    with pytest.raises(SystemExit) as ended:
        main(["bad.npz", "metric=[ssim]"])
    said = capsys.readouterr().err.strip()
    assert ended.value.code == 2 and said.startswith("sanity-score: ") and "\n" not in said
    assert re.search(message, said), said
    assert not (here / "outputs").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sede=1", "did you mean seed"),
        ("metric=[smim]", "metric=smim is unknown"),
        ("seed=x", "seed=x should be a valid integer"),
        ("model.path=x", "model is a label here"),
        ("randomization=a/b", "plain name"),
        ("controls=[edgs]", "edgs is none of the methods; did you mean edges"),
        ("metric=[region_share]", "where masks should look"),
        ("method=[gradient]", "says nothing of masks made elsewhere"),
    ],
)
def test_mistakes_in_what_is_asked(override, message, here):
    np.savez("masks.npz", **arrays())
    with pytest.raises(ConfigError, match=message):
        score_masks("masks.npz", ["metric=[spearman]", override])


@pytest.mark.parametrize("classes", [1, 2])
def test_few_logits_call_no_network_vanished_or_dead(classes, here, unfinished, caplog):
    logits = 3 + 0.1 * generator("few").standard_normal((7, 4, classes))
    logits[..., 1:] -= 6  # what the images have in common is far more than what they have not
    np.savez("masks.npz", **arrays(logits=logits))
    result = score_masks("masks.npz", [*FAST, "randomization=cascading"])
    assert "invalid" not in set(result.verdicts["verdict"])
    said = result.predictions
    assert said["between_share"].isna().all() and "few logits" in caplog.text
    assert said["probability"].isna().all() if classes == 1 else (said["probability"] > 0.9).all()


def test_logits_that_are_not_finite_make_a_stage_invalid(here, unfinished):
    logits = generator("exploded").standard_normal((7, 4, 12))
    logits[:, 1] = np.inf
    logits[0, 2, 3] = np.nan
    np.savez("masks.npz", **arrays(logits=logits))
    result = score_masks("masks.npz", [*FAST, "randomization=cascading"])
    primary = result.verdicts[result.verdicts["primary"]]
    assert set(primary["verdict"]) == {"invalid"}
    assert result.predictions["entropy"].isna().sum() == 8


def test_a_name_of_an_order_that_is_not_known_is_said(here, unfinished, caplog):
    np.savez("masks.npz", **arrays())
    score_masks("masks.npz", [*FAST, "randomization=paper_code"])
    assert "not known by the name paper_code" in " ".join(caplog.text.split())


def evil_npz(path, mark):
    """An array of objects to be unpickled, and an archive member that is a pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
        header = header.ljust(117) + b"\n"
        content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
        archive.writestr("gradient.npy", content + pickle.dumps(Evil(mark)))


def evil_zarr(path, mark, at):
    (path / "gradient").mkdir(parents=True)
    meta = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "fill_value": None}
    meta |= {"order": "C", "compressor": None, "filters": None, at: {"id": "pickle"}}
    meta["filters"] = [meta["filters"]] if at == "filters" else [{"id": "vlen-utf8"}]
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    (path / "gradient" / ".zarray").write_text(json.dumps(meta))
    (path / "gradient" / "0").write_bytes(pickle.dumps(Evil(mark)))


@pytest.mark.parametrize("kind", ["npz", "filters", "compressor", "pickle"])
def test_hostile_files_run_nothing(kind, here):
    mark = here / "mark"
    path = here / ("evil.npz" if kind in ("npz", "pickle") else "evil.zarr")
    if kind == "npz":
        evil_npz(path, mark)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(Evil(mark)))
    else:
        evil_zarr(path, mark, kind)
    with pytest.raises(ConfigError, match="pickle|codec|cannot be read"):
        score_masks(path, FAST)
    assert not mark.exists()


def test_what_claims_to_be_huge_is_refused(here):
    with zipfile.ZipFile("bomb.npz", "w") as archive:
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999, 99999, 99, 99), }"
        header = header.ljust(117) + b"\n"
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ConfigError, match="memory|cannot be read"):
        score_masks("bomb.npz", FAST)


def test_the_command_needs_no_tensorflow(here):
    np.savez("masks.npz", **arrays())
    code = (
        "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "from sanity.commands.score import main\n"
        f"main(['masks.npz', 'randomization=cascading', 'masks.keep=0', *{FAST!r}])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT), "HOME": str(here)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "guided" in done.stdout and "insensitive" in done.stdout
    assert isinstance(sanity.runs("outputs"), pd.DataFrame)
