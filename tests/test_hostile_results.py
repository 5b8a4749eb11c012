"""Results that somebody sent: whoever reads them runs nothing of theirs and leaves their folder."""

import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from sanity import ConfigError, load_images, load_masks, load_runs
from sanity.analysis.schemes import load_schemes
from sanity.analysis.verdict_tables import evidence, verdict_tables
from sanity.checked import checked
from sanity.compare import main
from sanity.config.job import compose
from sanity.experiment.rescore import chosen_metrics, rescore
from sanity.files import replace_file
from sanity.metrics import Pearson
from sanity.metrics.recorded import Recorded, own_class, read_recorded, remake
from sanity.report.finish import draw, file_name
from tests.report.runs import make_run


@checked
class Mine(Pearson):
    """A metric of somebody's own."""

    made = []

    def __post_init__(self):
        Mine.made.append(1)


MINE = {"_target_": "tests.test_hostile_results.Mine"}


class Evil:
    """Runs a command where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def mark(tmp_path):
    """A file that whatever is run makes."""
    return tmp_path / "mark"


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("template") / "run")


@pytest.fixture
def run(template, tmp_path):
    """A run of a test's own."""
    return shutil.copytree(template, tmp_path / "runs" / "run")


def change_config(run, change):
    file = run / ".hydra" / "config.yaml"
    config = yaml.safe_load(file.read_text())
    change(config)
    file.write_text(yaml.safe_dump(config))


def change_info(run, **changes):
    file = run / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def evil_nodes(mark):
    call = {"_target_": "subprocess.getoutput", "cmd": f"touch {mark}"}
    return {
        "a command": call,
        "a function of this package": {"_target_": "sanity.files.remove", "path": str(mark.parent)},
        "through this package": {"_target_": "sanity.files.os.system", "command": f"touch {mark}"},
        "inside a metric": {"_target_": "sanity.metrics.Ssim", "clip": call},
        "like a metric": {"_target_": "sanity.metrics.base.subprocess.Ssim", **call},
        "of no text": {"_target_": ["subprocess"]},
        "no mapping": "subprocess",
    }


@pytest.mark.parametrize("kind", list(evil_nodes(Path())))
@pytest.mark.parametrize("place", ["config", "rescored"])
def test_comparing_runs_no_target(run, mark, kind, place, tmp_path):
    node = evil_nodes(mark)[kind]
    if place == "config":
        change_config(run, lambda config: config["metric"].update(ssim=node))
    else:
        change_info(run, rescored={"ssim": node})
    page = tmp_path / "page.html"
    try:
        main([str(run), "--report", str(page)])
    except SystemExit as error:  # a sentence on a metric that its own class refuses
        assert error.code == 2
    assert not mark.exists() and run.exists()


def test_rescoring_runs_no_target(run, mark):
    """The methods and metrics of the run's configuration are not made."""
    call = {"_target_": "subprocess.getoutput", "cmd": f"touch {mark}"}

    def change(config):
        config.update(dict.fromkeys(("model", "data", "layers", "randomization"), call))
        config["method"] = dict.fromkeys(config["method"], call)
        config["metric"]["ssim"] = call

    change_config(run, change)
    rescore(run, *chosen_metrics(["metric=[mse]"]))
    assert not mark.exists()
    assert set(load_runs(run)["metric"]) == {"ssim", "spearman", "mse"}
    recorded = json.loads((run / "run.json").read_text())["metrics"]["mse"]
    assert recorded == {
        "identity": 0.0,
        "range": [0.0, None],
        "direction": "lower",
        "unrelated": 2.0,
        "speaks_for": "sign",
        "needs_regions": False,
    }


def test_a_foreign_metric_is_known_by_its_values_and_made_with_trust_alone(run, caplog):
    change_config(run, lambda config: config["metric"].update(ssim=MINE))
    change_info(run, metrics={"ssim": Recorded(1.0, (-1.0, 1.0)).values()})
    Mine.made.clear()
    (found,) = verdict_tables([run], load_schemes([run])).values()
    row = found.set_index(["method", "metric"]).loc[("guided_backprop", "ssim")]
    assert row["verdict"] != "none" and row["early"] > 0.5
    assert not Mine.made
    assert "tests.test_hostile_results.Mine" in caplog.text and "--trust" in caplog.text
    evidence([run], load_schemes([run]), trust=True)
    assert Mine.made


def test_a_foreign_metric_that_was_not_recorded_gets_no_verdict_and_says_so(run):
    change_config(run, lambda config: config["metric"].update(ssim=MINE))
    (found,) = verdict_tables([run], load_schemes([run])).values()
    row = found.set_index(["method", "metric"]).loc[("guided_backprop", "ssim")]
    assert row["verdict"] == "none" and "not recorded" in row["evidence"]


@pytest.mark.parametrize("name", ["ssim", "spearman", "mse", "top_k", "emprt", "region_share"])
def test_what_is_recorded_of_metrics(name):
    data = ["data=two_regions", "model=cnn"] if name == "region_share" else []
    job = compose([f"metric=[{name}]", *data])
    metric, node = job.metrics[name], job.config["metric"][name]
    recorded = Recorded.of(metric)
    assert read_recorded(json.loads(json.dumps(recorded.values())), {}, "metric") == recorded
    # Of an older run its class tells, by its name.
    assert own_class(node) is type(metric) and read_recorded(None, node, "metric") == recorded
    assert type(remake(node, "metric")) is type(metric)
    directions = {"mse": "lower", "emprt": None, "region_share": None}
    assert recorded.direction == directions.get(name, "higher")


@pytest.mark.parametrize("damaged", [None, [], {"identity": "1"}, {"identity": True}, {"range": 3}])
def test_damaged_records_are_none(damaged):
    assert read_recorded(damaged, MINE, "metric") is None


@pytest.mark.parametrize(
    "text",
    [
        "metric: !!python/object/apply:os.system ['touch MARK']",
        "metric: !!python/object/new:os.system ['touch MARK']",
        "a: " + "[" * 20_000,
    ],
)
def test_yaml_is_data(run, mark, text, capsys):
    (run / ".hydra" / "config.yaml").write_text(text.replace("MARK", str(mark)))
    with pytest.raises(SystemExit):
        main([str(run)])
    assert "cannot be read" in capsys.readouterr().err and not mark.exists()


def test_interpolations_stay_text(run, monkeypatch, tmp_path):
    monkeypatch.setenv("A_SECRET", "hunter2")
    change_config(run, lambda config: config.update(output="${oc.env:A_SECRET}"))
    change_config(run, lambda config: config["randomization"].update(initializer="${name}"))
    change_info(run, columns={"seed": 0, "note": "${oc.env:A_SECRET}"})
    page = tmp_path / "page.html"
    main([str(run), "--quiet", "--no-verdicts", "--report", str(page)])
    assert "hunter2" not in page.read_text() and "${name}" in page.read_text()
    assert set(load_runs(run)["note"]) == {"${oc.env:A_SECRET}"}


@pytest.mark.parametrize("text", ["[" * 100_000, '{"columns": [1]}', '{"status": {}}', "7"])
def test_json_is_data(run, text):
    (run / "run.json").write_text(text)
    try:
        assert load_runs(run, status="completed").empty
    except ConfigError as error:
        assert "damaged" in str(error) or "no run" in str(error)


def test_parquet_is_data(run, mark):
    """An extension type of which older versions of Arrow unpickled what it was serialized to."""
    file = run / "scores.parquet"
    table = pq.read_table(file, partitioning=None)
    metadata = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Evil(mark)),
    }
    field = pa.field("value", pa.float64(), metadata=metadata)
    at = table.schema.get_field_index("value")
    pq.write_table(table.set_column(at, field, table["value"]), file)
    assert len(load_runs(run)) == table.num_rows
    assert not mark.exists()


def zarr_2(path, mark, place):
    """A store in format 2 whose labels are to be unpickled."""
    shutil.rmtree(path)
    (path / "image").mkdir(parents=True)
    codec = {"id": "pickle", "protocol": 4}
    meta = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "fill_value": None}
    meta |= {"order": "C", "compressor": None, "filters": [{"id": "vlen-utf8"}]}
    meta[place] = codec if place == "compressor" else [codec]
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    (path / "image" / ".zarray").write_text(json.dumps(meta))
    (path / "image" / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["image"]}')
    (path / "image" / "0").write_bytes(pickle.dumps(Evil(mark)))


def zarr_3(path, mark, place):
    """A store in format 3 that asks for a codec by name, by itself or within another."""
    file = path / "gradient" / "zarr.json"
    meta = json.loads(file.read_text())
    codec = {"name": "numcodecs.pickle", "configuration": {"protocol": 4}}
    inner = [{"name": "bytes", "configuration": {"endian": "little"}}, codec]
    shard = {"chunk_shape": [1], "codecs": inner, "index_codecs": inner[:1]}
    meta["codecs"] = inner if place == "chain" else [{"name": "sharding_indexed"} | shard]
    file.write_text(json.dumps(meta))


@pytest.mark.parametrize(
    ("write", "place"),
    [(zarr_2, "filters"), (zarr_2, "compressor"), (zarr_3, "chain"), (zarr_3, "shard")],
)
def test_zarr_is_data(run, mark, write, place):
    from sanity.results.masks import read_layout

    write(run / "masks.zarr", mark, place)
    with pytest.raises(ConfigError, match=r"the codec (numcodecs\.)?pickle, which is not read"):
        load_masks(run)
    assert read_layout(run / "masks.zarr") is None
    assert not mark.exists()


@pytest.mark.parametrize("name", ["names", "images"])
def test_npz_is_data(run, mark, name):
    arrays = {"names": np.array(["one"]), "images": np.zeros((1, 2, 2, 3), np.uint8)}
    arrays[name] = np.array([Evil(mark)], object)
    np.savez(run / "images.npz", **arrays)
    with pytest.raises(ConfigError, match="damaged"):
        load_images(run)
    assert not mark.exists()


NAMES = ["../../out", "/tmp/out", "..\\out", "a/../../out", "x" * 300]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_images_make_plain_names_of_files(name):
    assert len(file_name(name)) < 200 and not set(file_name(name)) & set("/\\:")


def test_names_of_images_lead_to_no_other_folder(tmp_path):
    run = make_run(tmp_path / "a" / "run", images=NAMES[::4], methods=["gradient"])
    outside = set(tmp_path.rglob("*"))
    draw(run)
    drawn = set(tmp_path.rglob("*")) - outside - {run / "figures"}
    assert {path.parent for path in drawn} == {run / "figures"}
    assert len([path for path in drawn if path.name.endswith("_signed.png")]) == 2


@pytest.mark.parametrize("group", ["method", "metric"])
@pytest.mark.parametrize("name", ["../out", "/out", ".hidden", "a b"])
def test_names_of_methods_and_metrics_are_plain(group, name):
    target = {"method": "sanity.methods.Gradient", "metric": "sanity.metrics.Pearson"}[group]
    from omegaconf import OmegaConf

    from sanity.config.job import resolve

    config = OmegaConf.create(compose([]).config)
    config[group][name] = {"_target_": target}
    with pytest.raises(ConfigError, match="plain name"):
        resolve(config)


def test_a_link_in_place_of_a_temporary_file_is_not_followed(tmp_path):
    other = tmp_path / "other"
    other.write_text("mine")
    (tmp_path / ".run.json.tmp").symlink_to(other)
    replace_file(tmp_path / "run.json", b"{}")
    assert other.read_text() == "mine" and (tmp_path / "run.json").read_text() == "{}"


def test_names_are_no_markup(tmp_path):
    name = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    run = make_run(tmp_path / "run", images=(name, "two"), names=(name, "dog"))
    page = tmp_path / "page.html"
    main([str(run), "--quiet", "--report", str(page)])
    assert "<script>alert" not in page.read_text() and "<img src=x" not in page.read_text()
