"""Masks of the network as trained, shared by jobs."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from sanity import methods
from sanity.config.job import compose
from sanity.experiment import originals as job_originals
from sanity.experiment.explaining import explain
from sanity.randomization.weights import Randomization
from sanity.results.originals import Originals
from tests.command import ROOT
from tests.networks import small_classifier
from tests.pieces import ANY

KEYS = {"gradient": ["aa01", "aa02", "bb03"], "edges": ["cc01", "cc02", "cc03"]}


@pytest.fixture
def masks():
    draw = np.random.default_rng(0)
    found = draw.standard_normal((3, 6, 5, 3)).astype(np.float32)
    found[0, 0, 0] = [np.nan, -0.0, np.inf]
    found[1, 0, 0, 0] = np.float32(1e-42)  # not normal
    return found


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


# The files


def test_masks_come_back_to_the_bit(tmp_path, masks):
    store = Originals(tmp_path, KEYS)
    assert store.get("gradient", [0]) is None
    store.put("gradient", range(3), masks)
    store.put("edges", [2, 0], masks[:2, :, :, 0])
    other = Originals(tmp_path, KEYS)
    assert other.get("gradient", range(3)).tobytes() == masks.tobytes()
    assert other.get("gradient", [1]).tobytes() == masks[1:2].tobytes()
    assert other.get("edges", [0, 2]).tobytes() == masks[[1, 0], :, :, 0].tobytes()
    assert other.get("edges", [0, 1]) is None
    assert other.get("unknown", [0]) is None
    other.put("unknown", [0], masks[:1])
    assert len(files(tmp_path)) == 5
    assert {array.dtype for array in (other.get("gradient", [0]), other.get("edges", [0]))} == {
        np.dtype(np.float32)
    }


def test_a_forced_job_finds_nothing_and_replaces_what_is_there(tmp_path, masks):
    Originals(tmp_path, KEYS).put("gradient", range(3), masks)
    forced = Originals(tmp_path, KEYS, fresh=True)
    assert forced.get("gradient", [0]) is None
    forced.put("gradient", [0], masks[1:2])
    found = Originals(tmp_path, KEYS).get("gradient", [0])
    assert found.tobytes() == masks[1:2].tobytes()


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "other"])
def test_a_damaged_file_counts_as_missing(damage, tmp_path, masks):
    store = Originals(tmp_path, KEYS)
    store.put("gradient", range(3), masks)
    path = tmp_path / "aa" / "02.npz"
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    path.write_bytes({"empty": b"", "cut": content[:-9], "other": b"PK"}.get(damage, content))
    assert store.get("gradient", range(3)) is None
    assert not path.exists()
    assert store.get("gradient", [0, 2]) is not None
    store.put("gradient", range(3), masks)
    assert store.get("gradient", range(3)).tobytes() == masks.tobytes()


def test_what_cannot_be_written_is_passed_over(tmp_path, masks, caplog):
    (tmp_path / "file").write_text("")
    store = Originals(tmp_path / "file", KEYS)
    with caplog.at_level("INFO"):
        store.put("gradient", range(3), masks)
    assert "is not kept: Not a directory" in caplog.text
    assert store.get("gradient", range(3)) is None


def test_many_write_and_read_at_once(tmp_path, masks):
    """Each with a store of its own, as processes have; some must make room all the time."""

    def work(number):
        store = Originals(tmp_path, KEYS, limit=10**9 if number % 2 else 3000)
        for turn in range(20):
            images = [(number + turn) % 3]
            found = store.get("gradient", images)
            assert found is None or found.tobytes() == masks[images].tobytes()
            store.put("gradient", images, masks[images])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert all(path.suffix == ".npz" for path in files(tmp_path))


def test_the_size_is_bounded_and_the_oldest_go_first(tmp_path, masks):
    keys = {"gradient": [f"{i:04}" for i in range(40)]}
    store = Originals(tmp_path, keys)
    store.put("gradient", [0, 1], masks[:2])
    size = files(tmp_path)[0].stat().st_size
    for number, path in enumerate(files(tmp_path)):
        os.utime(path, (number, number))
    abandoned, young = tmp_path / "00" / ".host-1-0.tmp", tmp_path / "00" / ".host-2-0.tmp"
    for path in (abandoned, young):
        path.write_bytes(b"half")
    os.utime(abandoned, (1, 1))
    small = Originals(tmp_path, keys, limit=10 * size)
    small.put("gradient", range(2, 10), np.concatenate([masks, masks, masks[:2]]))
    assert len(files(tmp_path)) == 11
    for i in range(2, 10):
        os.utime(tmp_path / "00" / f"{i:02}.npz", (i, i))
    assert small.get("gradient", [0]) is not None  # now others were not used for longer
    small.put("gradient", [10], masks[:1])
    kept = [path.stem for path in files(tmp_path) if path.suffix == ".npz"]
    assert kept == ["00", "03", "04", "05", "06", "07", "08", "09", "10"]
    for i in range(11, 40):
        small.put("gradient", [i], masks[:1])
        kept = [path for path in files(tmp_path) if path.suffix == ".npz"]
        assert 9 <= len(kept) <= 10
        assert small.get("gradient", [i]) is not None
    assert young.exists() and not abandoned.exists()


PROCESS = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import numpy as np
from pathlib import Path
from sanity.results.originals import Originals
store = Originals(Path(sys.argv[1]), {{"m": [f"{{i % 4:04}}" for i in range(4)]}}, fresh=True)
other = Originals(Path(sys.argv[1]), {{"m": [f"{{i % 4:04}}" for i in range(4)]}})
masks = np.arange(4, dtype=np.float32)[:, None, None] * np.ones((4, 50, 50), np.float32)
for i in range(100):
    store.put("m", range(4), masks)
    found = other.get("m", range(4))
    assert found is not None and (found == masks).all(), i
assert "tensorflow" not in sys.modules
"""


def test_two_processes_write_the_same_masks(tmp_path):
    running = [
        subprocess.Popen([sys.executable, "-c", PROCESS, tmp_path], stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in running:
        _, error = process.communicate(timeout=120)
        assert process.returncode == 0, error.decode()
    assert len(files(tmp_path)) == 4


# What a mask is kept for


def keys_of(classifier, images, overrides=(), targets=None, **changes):
    chosen = ["method=[gradient,smoothgrad,edge_detector]", "metric=[ssim]"]
    job = compose([*ANY[:1], *chosen, *overrides])
    if changes:
        job = replace(job, **changes)
    targets = np.zeros(len(images), int) if targets is None else targets
    return job_originals.originals(job_originals.Keeping.of(job), classifier)(images, targets)._keys


def test_jobs_with_the_same_original_masks_share_them(small, noise_images):
    keys = keys_of(small, noise_images)
    assert set(keys) == {"gradient", "smoothgrad"}  # controls are not kept
    assert len({key for of in keys.values() for key in of}) == 10
    same = ["randomization=independent", "layers.last=1", "metric=[hog]", "name=x", "output=y"]
    for override in same:
        assert keys_of(small, noise_images, [override]) == keys, override
    again = small_classifier()  # as another process loads it
    assert keys_of(again, noise_images) == keys
    again.weights.put({"top/bias": again.trained["top/bias"] + 1})
    assert keys_of(again, noise_images) == keys
    shard = noise_images.take([1, 3])
    assert keys_of(small, shard) == {name: of[1:4:2] for name, of in keys.items()}


def test_other_masks_have_other_keys(small, noise_images, monkeypatch):
    keys = keys_of(small, noise_images)

    def differ(found, name="gradient"):
        return [ours != theirs for ours, theirs in zip(keys[name], found[name], strict=True)]

    assert keys_of(small, noise_images, ["seed=1"]) == keys
    other_noise = keys_of(small, noise_images, ["noise_seed=1"])
    assert not any(differ(other_noise)) and all(differ(other_noise, "smoothgrad"))
    more = keys_of(small, noise_images, ["method.smoothgrad.samples=7"])
    assert all(differ(more, "smoothgrad")) and not any(differ(more))
    assert differ(keys_of(small, noise_images, targets=np.array([0, 1, 0, 2, 0]))) == [
        *(False, True, False, True, False)
    ]
    renamed = replace(noise_images, names=["other", *noise_images.names[1:]])
    assert differ(keys_of(small, renamed), "smoothgrad") == [True] + 4 * [False]
    assert not any(differ(keys_of(small, renamed)))
    x = noise_images.x.copy()
    x[2, 0, 0, 0] += 1e-6
    assert differ(keys_of(small, replace(noise_images, x=x))) == [False, False, True, False, False]
    for other in (small_classifier(seed=1), small_classifier(softmax=True)):
        assert all(differ(keys_of(other, noise_images)))
    import tensorflow as tf

    assert all(differ(keys_of(small_classifier(relu=tf.nn.relu6), noise_images)))
    with monkeypatch.context() as patched:
        patched.setattr(small, "batch_size", 3)
        assert all(differ(keys_of(small, noise_images)))
    with monkeypatch.context() as patched:
        patched.setattr(job_originals, "_package", lambda: "other code")
        assert all(differ(keys_of(small, noise_images)))


def test_the_code_of_ones_own_method_counts(small, noise_images, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for power in (2, 3):
        (tmp_path / f"mine{power}.py").write_text(
            "from sanity.methods import Gradient\n"
            f"class Mine(Gradient):\n    def finish(self, total, subject): return total**{power}\n"
        )
        method = __import__(f"mine{power}").Mine()
        assert method.depends_on_seed()  # as it does not say that it draws nothing
        found.append(keys_of(small, noise_images, methods={"gradient": method})["gradient"])
    assert not set(found[0]) & set(found[1])
    method = type("Typed", (methods.Gradient,), {"__module__": "nowhere"})()
    assert "gradient" not in keys_of(small, noise_images, methods={"gradient": method})


def test_they_can_be_switched_off(small, noise_images):
    job = compose(["originals=false"])
    targets = np.zeros(5, int)
    assert job_originals.Keeping.of(job) is None
    assert compose(["originals=false"]).run_id == compose().run_id
    forced = job_originals.Keeping.of(compose(["force=true"]))
    assert job_originals.originals(forced, small)(noise_images, targets)._fresh


DETERMINED = [
    methods.Gradient(),
    methods.GradientXInput(),
    methods.IntegratedGradients(steps=3),
    methods.GuidedBackprop(),
    methods.Deconvnet(),
    methods.DeepLiftRescale(baseline="mean"),
    methods.EpsilonLRP(),
    methods.GradCam(),
    methods.GradCamPlusPlus(),
    methods.GuidedGradCam(),
    methods.BlurIG(steps=3),
    methods.GuidedIG(steps=3),
    methods.XRAI(steps=3),
    methods.Occlusion(size=5, stride=4),
]


def masks_of(small, images, chosen, seed):
    targets = np.arange(len(images), dtype=np.int32)
    stages = Randomization().stages(small, ["top"], 0)[:1]
    groups = list(explain(small, images, targets, chosen, stages, seed))
    return {name: np.concatenate([group.masks[name] for group in groups]) for name in chosen}


def test_methods_that_say_so_draw_nothing(small, noise_images):
    chosen = {type(method).__name__: method for method in DETERMINED}
    assert not any(method.depends_on_seed() for method in chosen.values())
    images = noise_images.take([0, 1])
    first = masks_of(small, images, chosen, 0)
    other = masks_of(small, replace(images, names=["x", "y"]), chosen, 1)
    for name in chosen:
        assert first[name].tobytes() == other[name].tobytes(), name


@pytest.mark.parametrize(
    "method", [methods.SmoothGrad(samples=2), methods.IntegratedGradients(baseline="uniform")]
)
def test_others_draw(small, noise_images, method):
    assert method.depends_on_seed()
    found = [masks_of(small, noise_images, {"one": method}, seed)["one"] for seed in (0, 1)]
    assert found[0].tobytes() != found[1].tobytes()


def test_loaded_masks_equal_computed_ones(small, noise_images, tmp_path):
    job = compose(["method=[gradient,smoothgrad]", "metric=[ssim]", f"output={tmp_path}"])
    targets = np.arange(5)
    chosen = job.methods
    computed = masks_of(small, noise_images, chosen, 0)
    store = job_originals.originals(job_originals.Keeping.of(job), small)(noise_images, targets)
    for name, masks in computed.items():
        store.put(name, range(5), masks)
    assert (tmp_path / ".originals").is_dir()
    again = small_classifier()
    store = job_originals.originals(job_originals.Keeping.of(job), again)(noise_images, targets)
    for name, masks in masks_of(again, noise_images, chosen, 0).items():
        assert store.get(name, range(5)).tobytes() == masks.tobytes()
    json.dumps(store._keys)
