import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from sanity.checked import instantiate, make
from sanity.config.job import compose
from sanity.config.options import conf_folder
from sanity.errors import ConfigError

GROUPS = ["model", "data", "layers", "randomization", "method", "metric"]
NEEDS = {  # what an option cannot be checked without
    "data=folder": ["data.path=."],
    "data=arrays": ["data.path=black.npy"],
    "data=parquet": ["data.path=black.parquet"],
    "data=tfds": ["data.source=beasts/1.0.0"],
    "model=frozen": ["model.path=."],
    "model=tflite": ["model.path=."],
    "model=onnx": ["model.path=."],
    "model=torch": ["model.module=nets:make", "model.input_shape=[224,224,3]"],
    "model=saved_model": ["model.path=."],
    "model=keras": ["model.path=."],
    "layers=article": ["model=inception_v3"],
    "experiment=article": ["data.path=."],
    "model=cnn": ["data=animal_mnist", "metric=[ssim]"],
    "model=mlp": ["data=digits", "metric=[spearman]"],
    "model=vit": ["data=animal_mnist", "metric=[ssim]"],
    "model=known_truth": ["metric=[ssim,spearman]"],
    "randomization=labels": ["model=mlp", "data=digits", "metric=[spearman]"],
    "metric=[region_share]": ["data=two_regions"],
}


def options(group):
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))


@pytest.fixture
def folder_of_images(tmp_path, monkeypatch):
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "black.png")
    np.save(tmp_path / "black.npy", np.zeros((2, 8, 8, 3), np.uint8))
    encoded = [(tmp_path / "black.png").read_bytes()]
    pq.write_table(pa.table({"image": encoded}), tmp_path / "black.parquet")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("group", "option"), [(group, option) for group in GROUPS for option in options(group)]
)
def test_every_option_is_composed_and_made(group, option, folder_of_images):
    several = group in ("method", "metric")
    choice = f"{group}=[{option}]" if several else f"{group}={option}"
    if choice == "data=tfds":
        from tests.data.beasts import prepare

        prepare(Path.cwd(), "tfrecord")
    job = compose([choice, *NEEDS.get(choice, [])])
    made = {"method": job.methods, "metric": job.metrics}.get(group)
    assert job.choices[group] == ([option] if several else option)
    assert list(made) == [option] if several else getattr(job, group) is not None


@pytest.mark.parametrize(
    ("group", "option"), [(group, option) for group in GROUPS for option in options(group)]
)
def test_every_option_lists_all_its_keys(group, option):
    """What can be set can be seen: `--cfg job` shows it, and `key=value` needs no `+`."""
    from dataclasses import fields
    from importlib import import_module

    node = yaml.safe_load((conf_folder() / group / f"{option}.yaml").read_text())
    if group in ("method", "metric"):
        assert list(node) == [option]
        node = node[option]
    module, _, name = node.pop("_target_").rpartition(".")
    known = {field.name for field in fields(getattr(import_module(module), name))}
    assert set(node) == known


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_is_composed(experiment, folder_of_images):
    assert compose([f"experiment={experiment}", *NEEDS.get(f"experiment={experiment}", [])])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["method=[gradent]"],
            r"method=gradent is unknown; did you mean method=gradient\? \(all: ",
        ),
        (
            ["layer.last=2"],
            r"layer\.last is no key of the configuration; did you mean layers\.last\?",
        ),
        (["model=resnet51"], r"model=resnet51 is none of .*efficientnet_lite0"),
        (["seed=-1"], r"seed=-1 should be greater than or equal to 0"),
        (["seed=abc"], r"seed=abc should be a valid integer"),
        (["seed=1.5"], r"seed=1\.5 should be a valid integer"),
        (["method.smoothgrad.samples=0"], r"method\.smoothgrad\.samples=0 should be greater than"),
        (["method.smoothgrad.samples=many"], r"method\.smoothgrad\.samples=many should be a valid"),
        (["layers.names=[logits,blok3]"], r"layers\.names=\['blok3'\] matches no block; .*block3"),
        (["layers.pattern=nothing"], r"layers\.pattern=nothing leaves no block; .*block3"),
        (["target=1000"], r"target=1000 must be a class from 0 to 999"),
        (["target=[1,2]"], r"target=\[1, 2\] must be one class: a sweep, -m target=1,2,"),
        (["target=-1"], r"target=-1 should be greater than or equal to 0"),
        (["name=../elsewhere"], r"name=\.\./elsewhere must be a plain name"),
        (
            ["+method.image={_target_: sanity.methods.Gradient}"],
            r"method\.image must have another name: stored masks have image, stage, layer,",
        ),
        (["name=a/b"], r"name=a/b must be a plain name"),
        (
            ["+method.smoothgrad.sampels=3"],
            r"smoothgrad\.sampels=3 .*did you mean .*samples",
        ),
        (["method.smoothgrad.sampels=3"], r"method\.smoothgrad\.sampels is no key .*samples"),
        (
            ["model=keras", "model.path=x", "model.range=[0,255,3]"],
            r"^model\.range=\[0, 255, 3\] should have at most 2 entries, it has 3$",
        ),
        (
            ["method.gradient.x=1"],
            r"^method\.gradient\.x is no key of .*tion(?!.*_target_)",
        ),
        (
            ["metric.ssim.window=9"],
            r"^metric\.ssim\.window=9 has no effect: .*=false alone$",
        ),
        (["sede=3"], r"sede is no key of the configuration; did you mean seed\?"),
        (["+sede=3"], r"sede=3 is no key here; did you mean seed\?"),
        (["+method.vanishing.samples=3"], r"method\.vanishing is no method"),
        (["method=[]"], r"^method=\[\] must name at least one of: .*gradient"),
        (["method=[gradient]", "method.smoothgrad.samples=3"], r"an option that is not chosen"),
        (["model=null"], r"^model=null must be one of: cnn, "),
        (
            ["runtime.batch_size=1"],
            r"runtime\.batch_size=1 should be .auto. or .* or equal to 2",
        ),
        (["runtime.progress=loud"], r"runtime\.progress=loud should be 'auto', 'bar'"),
        (["layers.names=conv9"], r"names=conv9 should be a list: 'layers\.names=\[conv9\]'$"),
        (["masks.keep=some"], r"masks\.keep=some should be 'all' or 'none' or .*integer"),
        (["data=folder"], r"data\.path must be given"),
        (["data=folder", "data.path=nowhere"], r"nowhere"),
        (["data.limit=["], r"is never closed"),
        (["method.gradient._target_=os.path.join"], r"."),
        (["method.gradient._target_=sanity.Nothing"], r"sanity\.Nothing cannot be imported"),
        (["method.smoothgrad=3"], r"method\.smoothgrad"),
        (["runtime=3"], r"^runtime=3 should be a set of keys: runtime\.KEY=… changes one$"),
        (["runtime=null"], r"^runtime=null should be a set of keys"),
        (["masks.keep={a: 1}"], r"^masks\.keep=.* should be .all. or .none. or a valid integer$"),
        (["output="], r"^output= should not be empty$"),
        ([f"name={'a' * 500}"], r"^name=a{200}… is no name that a file can have$"),
        (["coordinates=[0,inf]"], r"^coordinates=inf should be a finite number$"),
        (["layers._target_=builtins.dict"], r"^layers\._target_=dict chooses no blocks"),
        (["model=keras", "model.path="], r"^model\.path= should not be empty$"),
        (["model=keras", "model.path=x", "model.std=-1"], r"^model\.std=-1\.0 must be above 0$"),
        (["model=keras", "model.path=x", "model.mean=nan"], r"^model\.mean=nan should be "),
        (["model=keras", "model.path=x", "model.range=[1,0]"], r"a lower and a higher number$"),
        (["model=keras", "model.path=x", "model.blocks=[a,a]"], r"holds a more than once$"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_refused_in_a_sentence(overrides, message):
    with pytest.raises(ConfigError) as refused:
        compose(overrides)
    assert re.search(message, str(refused.value))
    assert "\n" not in str(refused.value)


def test_an_empty_folder_and_a_file_that_is_no_image(tmp_path):
    with pytest.raises(ConfigError, match="image"):
        compose(["data=folder", f"data.path={tmp_path}"])
    (tmp_path / "letter.png").write_text("Dear network")
    with pytest.raises(ConfigError, match=r"letter\.png"):
        compose(["data=folder", f"data.path={tmp_path}"])


def test_what_a_preset_left_behind():
    """Parameters of an existing method that is not chosen are dropped."""
    job = compose(["experiment=paper", "method=[gradient]"])
    assert list(job.methods) == ["gradient"]
    assert "smoothgrad" not in job.config["method"]


def test_the_run_id_is_what_determines_the_results():
    base = compose()
    assert base.run_id == compose().run_id
    assert base.run_id.startswith("efficientnet_lite0-imagenet_samples-cascading-seed0-")
    for same in ("name=other", "output=/tmp/x", "runtime.batch_size=8", "force=true"):
        assert compose([same]).run_id == base.run_id, same
    others = ["seed=1", "method.smoothgrad.samples=3", "target=3", "layers.last=2", "data.limit=1"]
    ids = {compose([other]).run_id for other in others}
    assert len(ids | {base.run_id}) == len(others) + 1
    json.dumps(base.config)


def test_a_plain_class_of_ones_own_is_made():
    made = instantiate({"_target_": "fractions.Fraction", "numerator": 1, "denominator": 2}, "x")
    assert made == 0.5
    with pytest.raises(ConfigError, match="x is not accepted"):
        make(made.__class__, {"nominator": 1}, "x")
