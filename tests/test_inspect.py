import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from sanity.inspect import inspect, main, text
from tests.models.standins import save_endpoints
from tests.pieces import CONF


@pytest.fixture(scope="module")
def overrides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("module") / "module"
    save_endpoints(folder)
    keys = ["input_shape=null", "n_classes=null", "class_names=null", "blocks=null"]
    return ["model=mobilenet_v2", f"model.handle={folder}", *[f"model.{key}" for key in keys]]


def test_a_module_is_looked_into(overrides):
    facts = inspect(overrides)
    assert facts["input"]["shape"] == [16, 16, 3]
    assert facts["classes"] == 6
    assert [block["name"] for block in facts["blocks"]] == ["Logits", "expanded_conv", "Conv"]
    assert [b["parameters"] for b in facts["blocks"]] == [8 * 6 + 6, 9 * 8 + 64, 27 * 8 + 3 * 8]
    assert facts["parameters"] == sum(b["parameters"] for b in facts["blocks"])
    kinds = {v["name"]: (v["kind"], v["shape"], v["fan_in"]) for v in facts["variables"]}
    assert kinds["Net/Conv/weights"] == ("kernel", [3, 3, 3, 8], 27)
    assert kinds["Net/expanded_conv/depthwise/depthwise_weights"] == ("kernel", [3, 3, 8, 1], 9)
    assert kinds["Net/Conv/BatchNorm/moving_variance"] == ("moving_variance", [8], None)
    assert len(kinds) == 8
    outputs = {one["name"]: one["shape"] for one in facts["outputs"]}
    assert outputs == {
        "Net/Conv": [None, 16, 16, 8],
        "Net/expanded_conv": [None, 8, 8, 8],
        "default": [None, 6],
    }
    relu6 = [one for one in facts["nonlinearities"] if one["op"] == "Relu6"]
    assert relu6[0]["count"] == 2
    assert "guided_backprop" in relu6[0]["rules"]
    assert facts["grad_cam"]
    page = text(facts)
    for part in ("Net/Conv/weights", "3×3×3×8", "expanded_conv", "Relu6", facts["grad_cam"]):
        assert part in page


@pytest.mark.slow
def test_the_command(overrides):
    done = subprocess.run(
        [sys.executable, "-m", "sanity.inspect", "--json", *overrides],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["classes"] == 6


def test_a_mistake_is_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["inspect", "model=saved_model", "model.path=nowhere"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("sanity-inspect: model.path=nowhere: there is no such file or folder")
    assert len(said.splitlines()) == 1


def test_the_page_is_printed(monkeypatch, capsys, overrides):
    monkeypatch.setattr(sys, "argv", ["inspect", *overrides])
    main()
    assert "blocks, from output to input (3)" in capsys.readouterr().out


def test_it_says_what_a_full_cascade_takes(tmp_path):
    draw = np.random.default_rng(0)
    shapes = {"stem/kernel": (1, 1, 3, 4), "own/kernel": (4, 5), "other/kernel": (4, 2)}
    shapes |= {"stem/slope": (4,), "stem/bound": (1,), "stem/shift": (4,)}
    module = tf.Module()
    module.all = {
        name: tf.Variable(
            draw.random(shape), name=name, dtype="float32", trainable="shift" not in name
        )
        for name, shape in shapes.items()
    }

    @tf.function(input_signature=[tf.TensorSpec((None, 4, 4, 3), tf.float32)])
    def serve(x):
        x = tf.nn.conv2d(x, module.all["stem/kernel"], 1, "SAME") + module.all["stem/shift"]
        x = tf.nn.relu(x) - module.all["stem/slope"] * tf.nn.relu(-x)
        x = tf.reduce_mean(tf.maximum(x, module.all["stem/bound"]), [1, 2])
        return {"own": x @ module.all["own/kernel"], "other": x @ module.all["other/kernel"]}

    module.serve = serve
    tf.saved_model.save(module, tmp_path, signatures=serve)
    chosen = ["model=saved_model", f"model.path={tmp_path}", "model.output=own"]
    facts = inspect(chosen)
    assert facts["cascade"] == {"randomized": 40, "of": 41, "kept": ["stem/bound"]}
    kept = inspect([*chosen, "randomization.slopes=keep"])["cascade"]
    assert kept == {"randomized": 36, "of": 41, "kept": ["stem/slope", "stem/bound"]}
    page = text(facts)
    assert "randomized by a full cascade: 40 of 41 trainable parameters that reach" in page
    rows = {
        line.split()[0]: line.split(None, 3)[3:] for line in page.splitlines() if "float32 " in line
    }
    assert rows["stem/slope"] == ["slope                stem"]
    assert rows["stem/shift"] == ["bias, not trainable  stem"]
    assert rows["other/kernel"] == ["kernel               does not reach the output"]


def test_a_folder_of_ones_own_and_a_runs_model(tmp_path, monkeypatch, capsys):
    from sanity.config.job import compose
    from sanity.results.recorded import write_config

    given = [f"hydra.searchpath=[file://{CONF}]", "model=small", "method=[gradient]"]
    job = compose(given)
    write_config(tmp_path, job.config, job.overrides, {"runtime": {"choices": {}}})
    pages = []
    for words in (["-cd", CONF, "model=small"], [tmp_path, "--trust"]):
        monkeypatch.setattr(sys, "argv", ["inspect", *map(str, words)])
        main()
        pages.append(capsys.readouterr().out)
    assert pages[0] == pages[1] and "blocks, from output to input" in pages[0]
    monkeypatch.setattr(sys, "argv", ["inspect", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
    assert "--trust runs it" in capsys.readouterr().err
