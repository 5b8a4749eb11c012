"""The scripts start, and print their tables for the smallest work."""

import importlib.util
import json
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import sanity
from sanity.config.job import compose
from sanity.config.options import options
from sanity.errors import ConfigError
from sanity.files import read_json
from sanity.models.known import TRUTHS
from sanity.network import batch_gradient as calls
from sanity.randomness import generator
from sanity.results.load import load_runs
from tests.command import ROOT
from tests.pieces import ANY
from tests.report import browser
from tests.report.runs import make_run

FILES = sorted((ROOT / "scripts").glob("*.py"))
JOB_OF_GPU = [
    "metric=[spearman]",
    "method=[gradient,smoothgrad,integrated_gradients]",
    "method.smoothgrad.samples=5",
    "method.integrated_gradients.steps=5",
]
SMALL = [*ANY, "data.limit=1", "method=[gradient]", "metric=[spearman]", "layers.last=1"]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def run(script, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", [script.__file__, *map(str, words)])
    script.main()


def cells(text):
    """Of the rows of the Markdown tables in a text, headers left out."""
    rows = [line for line in text.splitlines() if line.startswith("|") and "---" not in line]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_help(file, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(file), "--help"])
    monkeypatch.setattr(sys, "path", [*sys.path])
    code = 0
    try:
        runpy.run_path(str(file), run_name="__main__")
    except SystemExit as ended:
        code = ended.code
    assert not code
    first = load(file.stem).__doc__.splitlines()[0]
    assert first in " ".join(capsys.readouterr().out.split())


def test_coverage(monkeypatch, capsys):
    script = load("interval_coverage")
    monkeypatch.setattr(script, "RUNS", 10)
    monkeypatch.setattr(script, "width", lambda interval: interval is script.student)
    run(script, monkeypatch)
    first, second = cells(capsys.readouterr().out.replace("\n\n", "\n")), script.INTERVALS
    assert [row[0] for row in first[1 : len(second) + 1]] == list(second)
    percents = [cell for row in first for cell in row[1:-1] if cell.isdigit()]
    assert len(percents) == len(script.SHAPES) * len(second) + (len(script.SHAPES) - 1) * 11
    assert all(0 <= int(cell) <= 100 for cell in percents)


def test_unrelated(monkeypatch, capsys):
    script = load("unrelated")
    monkeypatch.setattr(script, "PAIRS", 2)
    monkeypatch.setattr(script, "SIDES", (48,))
    run(script, monkeypatch)
    header, *rows = cells(capsys.readouterr().out)
    assert header[2:] == list(script.KINDS)
    assert {row[0].strip("`") for row in rows} == set(options("metric")) - {"region_share"}
    assert all("±" in cell for row in rows for cell in row[2:])


def test_known_truth(tmp_path, monkeypatch, capsys):
    network = next(iter(TRUTHS))
    path = make_run(tmp_path / "run")
    file = path / ".hydra" / "config.yaml"
    config = yaml.safe_load(file.read_text()) | {"model": {"network": network}}
    file.write_text(yaml.safe_dump(config))
    run(load("known_truth"), monkeypatch, tmp_path)
    _, *rows = cells(capsys.readouterr().out)
    assert [row[:3] for row in rows] == [
        [name, method, truth] for name, truths in TRUTHS.items() for method, truth in truths.items()
    ]
    (said,) = [row[3] for row in rows if row[:2] == [network, "gradient"]]
    verdicts = read_json(path / "run.json")["verdicts"]
    (found,) = [v["verdict"] for v in verdicts if v["primary"] and v["method"] == "gradient"]
    assert said == f"{found} (1)"


def test_schemes(tmp_path, monkeypatch, capsys):
    for order in ("cascading", "independent"):
        make_run(tmp_path / order, randomization=order)
    run(load("schemes"), monkeypatch, tmp_path, tmp_path / "found.png")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["cascading", "independent"]
    assert (tmp_path / "found.png").read_bytes().startswith(b"\x89PNG")


def test_transformer(tmp_path, monkeypatch, capsys):
    paths = {
        order: make_run(tmp_path / "runs" / order, randomization=order)
        for order in ("cascading", "cascading_bottom_up")
    }
    picture = tmp_path / "found.png"
    words = [tmp_path / "runs", picture, "--metric", "ssim"]
    run(load("transformer"), monkeypatch, *words)
    header, *rows = cells(capsys.readouterr().out)
    assert {row[0].split(": ")[0] for row in rows} == {"output", "input"}
    scores = load_runs(paths["cascading"], metric="ssim", method="gradient", stage=1)
    said = f"{scores['value'].mean():.2f} ({scores['null'].mean():.2f})".replace("-", "−")
    assert rows[0][header.index("`gradient`")] == said
    assert picture.read_bytes().startswith(b"\x89PNG")
    shutil.rmtree(paths["cascading_bottom_up"])
    with pytest.raises(ConfigError, match="no run of randomization=cascading_bottom_up"):
        run(load("transformer"), monkeypatch, *words)


def test_second_job(monkeypatch, capsys):
    run(load("second_job"), monkeypatch, *SMALL, "--profile")
    said = capsys.readouterr().out
    assert "job 1: " in said and "job 2: " in said and "cumulative" in said


@pytest.fixture
def bench(monkeypatch):
    """The benchmark on a small network, all in this process."""
    script = load("bench")
    monkeypatch.setattr(script, "MODELS", {"small": ANY})
    monkeypatch.setattr(script, "GROWING", [*SMALL, "method=[smoothgrad]"])
    monkeypatch.setattr(script, "GROWTH", {"images × 2": ["data.limit=2"]})
    monkeypatch.setattr(script.subprocess, "run", lambda command, check: script.main(command[2:]))
    monkeypatch.setattr(script.os, "cpu_count", lambda: 1)
    return script


@pytest.mark.parametrize(
    ("words", "rows"),
    [
        (["job", *SMALL], ["floor", "gradient phase", "whole run after start-up", "peak memory"]),
        (["models", "small"], ["floor", "both, in bfloat16", "PAIR's loop, gradient by gradient"]),
        (["growth"], ["one batch a stage", "images × 2"]),
        (["batches", *SMALL], ["1 threads, batches of  2", "1 threads, batches of 64"]),
    ],
    ids=lambda value: value[0],
)
def test_bench(bench, words, rows, capsys):
    bench.main(words)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert [row for row in rows if not any(line.startswith(row) for line in lines)] == []


def test_bench_ops(monkeypatch, capsys):
    run(load("ops"), monkeypatch, *SMALL)
    title, roofs, _, _, *rows = capsys.readouterr().out.splitlines()
    assert "ms a gradient" in title and roofs.startswith("roofs: ")
    shares = [float(line.split("%")[0].split()[-1]) for line in rows]
    assert any(line.startswith("convolutions 3×3") for line in rows)
    assert shares == sorted(shares, reverse=True) and 5 <= min(shares) and sum(shares) <= 100.5


def test_bench_scale(bench, tmp_path, monkeypatch, capsys):
    script = load("scale")
    monkeypatch.setattr(script.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(
        script.subprocess,
        "check_output",
        lambda command: json.dumps(script.measure(command[3:])).encode(),
    )
    small = [word for word in SMALL if not word.startswith(("data.limit", "method", "masks"))]
    run(script, monkeypatch, "--images", "2,3", "--model", "small", *small)
    title, header, *rows = capsys.readouterr().out.splitlines()
    assert title.startswith("small, 2 stages") and script.processor() in title
    assert header.endswith(" peak, GB")
    for count, row in zip((2, 3), rows, strict=True):
        images, indexed, first, seconds, each, peak = map(float, row.split())
        assert images == count and 0 <= first < seconds and 0 <= indexed and 0.1 < peak
        assert each == pytest.approx(seconds / count * 1e3, rel=0.1, abs=10)


def test_bench_seeds(bench, monkeypatch, capsys, tmp_path):
    """A sweep and single runs of a small network, their scores, and what was not done before."""
    monkeypatch.setitem(sys.modules, "bench", bench)
    script, started = load("seeds"), []

    def timed_run(words):
        started.append(words[0])
        *words, output = [word for word in words if word != "-m"]
        seeds = next(word for word in words if word.startswith("seed=")).removeprefix("seed=")
        others = [word for word in words if not word.startswith("seed=")]
        for seed in seeds.split(","):
            sanity.run(overrides=[*others, f"seed={seed}", output])
        return script.Took(2.0, 3.0)

    monkeypatch.setattr(script, "timed_run", timed_run)
    monkeypatch.setattr(
        script.subprocess,
        "check_output",
        lambda command: json.dumps(asdict(script.measure(command[5:], 2))).encode(),
    )
    asked = [
        "--seeds",
        "2",
        "--output",
        tmp_path,
        *ANY,
        "data.limit=2",
        "method.smoothgrad.samples=3",
    ]
    run(script, monkeypatch, *asked)
    said = capsys.readouterr().out
    assert started == ["-m", "seed=0", "seed=1"]
    assert "  2 seeds in one sweep: 2.0 s, 3.0 CPU s\n" in said
    assert "  single runs, 2 of 2: 4.0 s, 6.0 CPU s\n" in said
    assert re.search(r"all [1-9]\d* scores are equal to the bit", said)
    shares = {line[:58].strip(): float(line.split()[-1]) for line in said.splitlines()[-5:]}
    assert shares["floor: as many of the plain graph"] == 1 and min(shares.values()) > -0.5
    run(script, monkeypatch, *asked)
    assert len(started) == 3 and capsys.readouterr().out == said
    (other,) = (tmp_path / "single" / "1").glob("*/*/scores.parquet")
    frame = pd.read_parquet(other)
    frame.assign(value=frame["value"] + 1e-12).to_parquet(other)
    with pytest.raises(SystemExit, match="scores differ"):
        run(script, monkeypatch, *asked)


def test_a_shared_walk_computes_nothing_else(bench, small):
    """What a benchmark tries: the network as trained is passed once, gradients are the same."""
    script = load("seeds")
    walk, x = calls.Walk, generator("shared walk").random((4, *small.input_shape), np.float32)
    draws = [
        {name: v * factor} for factor in (2, 3) for name, v in list(small.trained.items())[-2:]
    ]
    alone, shared = [], []
    with small.weights.restored():
        for found, kind in ((alone, walk), (shared, script._sharing(walk))):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(calls, "Walk", kind)
                gradients = small.batch_gradient(x)
            for draw in [{}, *draws]:
                small.weights.put(draw)
                found.append(gradients(np.zeros(4, np.int32)))
    assert all(map(np.array_equal, alone, shared))
    assert not np.array_equal(alone[1], alone[3])


@pytest.mark.parametrize("kind", ["MODELS", "GROWTH"])
def test_bench_asks_for_what_there_is(kind, tmp_path):
    script = load("bench")
    base = script.POINTS if kind == "MODELS" else script.GROWING
    for overrides in getattr(script, kind).values():
        asked = [override.format(inception=tmp_path) for override in overrides]
        assert compose([*base, *script.QUIET, *asked]).methods


PEER = """
import json, sys
import numpy as np
given = np.load(sys.argv[1])
np.save(sys.argv[1].replace("given.npz", "captum.npy"), given["images"])
print("chatter")
print(json.dumps({"name": "Other 1.0", "seconds": 0.5, "cpu": 0.9, "gradients": 53}))
"""


def test_bench_peers(monkeypatch, capsys, tmp_path):
    """Other packages' lines stand beside ours; one that fails is told in a word."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    bench, peers = load("bench"), load("peers")
    monkeypatch.setitem(sys.modules, "peers", peers)
    monkeypatch.setitem(sys.modules, "bench", bench)
    monkeypatch.setattr(peers, "_environment", lambda name: Path(sys.executable))
    monkeypatch.setattr(peers, "JOB", [*SMALL, "method=[gradient,smoothgrad]"])
    monkeypatch.setattr(peers, "_MOST", 1)
    failing = {"xplique": "raise OSError('no such thing')", "quantus": "while True: pass"}
    for name, text in {"captum": PEER, **failing}.items():
        script = tmp_path / f"{name}.py"
        script.write_text(text)
        monkeypatch.setitem(peers.PEERS, name, peers.Peer(str(script), ()))
    monkeypatch.setattr("sanity.models.efficientnet_lite.saved_model", lambda variant: tmp_path)
    bench.main(["peers", "captum", "xplique", "quantus", "data.limit=2"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert any(line.startswith("sanity ") for line in lines)
    assert any(line.startswith("PAIR saliency's loop") for line in lines)
    (other,) = (line for line in lines if line.startswith("Other 1.0"))
    assert other.split()[2:7] == ["0.50", "0.90", "53", "9", "17"]
    assert "xplique does not run here: OSError: no such thing" in lines
    assert "quantus was not through after 1 CPU s" in lines


def test_peers_are_set_up_once(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    peers, made, installed = load("peers"), [], []

    class Done:
        returncode = 0

    def create(folder, **options):
        folder.mkdir(parents=True)
        made.append(folder.name)

    monkeypatch.setattr(peers, "FOLDER", tmp_path)
    monkeypatch.setattr(peers.venv, "create", create)
    monkeypatch.setattr(peers.subprocess, "run", lambda command: installed.append(command) or Done)
    monkeypatch.setenv("BENCH_TORCH", "/wheels/torch.whl")
    for _ in range(2):
        assert peers._environment("captum") == tmp_path / "captum" / "bin" / "python"
    assert made == ["captum"] and len(installed) == 1
    assert "/wheels/torch.whl" in installed[0] and "captum==0.9.0" in installed[0]
    peers._environment("xplique")
    assert installed[-1][-2:] == ["--no-deps", "xplique==2.0.2"]


def test_peers_of_nothing_known():
    with pytest.raises(SystemExit, match="captun is none of captum, quantus, xplique"):
        load("peers").main(["captun"])


def test_bench_of_nothing_known(bench):
    with pytest.raises(SystemExit, match="modles is none of job, models, growth, .*peers"):
        bench.main(["modles"])


def test_no_script_hides_a_package():
    """A script's folder comes first on Python's path: `coverage.py` there broke shap's imports."""
    found = {file: importlib.util.find_spec(file.stem) for file in FILES}
    hidden = [file for file, spec in found.items() if spec and spec.origin != str(file)]
    assert hidden == []


def test_gallery(tmp_path):
    script = load("gallery")
    image, masks = script.masks_of(compose([*SMALL[:-3], "method=[gradient,edge_detector]"]))
    assert set(masks) == {"gradient", "edge_detector"}
    assert all(mask.shape[:2] == image.shape[:2] for mask in masks.values())
    script.draw(image, masks, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.skipif(browser.find() is None, reason="there is no Chromium on the PATH")
def test_pictures(tmp_path, monkeypatch):
    folder = make_run(tmp_path / "run")
    run(load("pictures"), monkeypatch, folder, "--docs", tmp_path / "docs")
    assert {file.name for file in (tmp_path / "docs").iterdir()} == {
        "grid.png",
        "curves.png",
        "report.png",
    }


def test_bench_transfers(bench, monkeypatch, capsys):
    """Sums on the device: one in double precision for each image and stage, and a gradient."""
    monkeypatch.setitem(sys.modules, "bench", bench)
    script = load("transfers")
    run(script, monkeypatch, *ANY, "data.limit=2", "layers.last=1", *JOB_OF_GPU)
    title, *lines = capsys.readouterr().out.splitlines()
    gradients = int(title.split(", ")[1].split()[0])
    fetched = [line.split() for line in lines if "fetched" in line]
    host, device = (float(row[-1]) for row in fetched)
    pixels = 16 * 16 * 3
    assert host * gradients == pytest.approx(4e-6 * pixels * gradients, abs=0.002 * gradients)
    assert 0 < device < host


@pytest.mark.slow
def test_bench_gpu(bench, monkeypatch, capsys, tmp_path):
    """Every row of a network, or why there is none, as its process gives them and as printed."""
    monkeypatch.setitem(sys.modules, "bench", bench)
    script = load("gpu")
    monkeypatch.setattr(script, "JOB", ["data.limit=2", *JOB_OF_GPU])
    rows = []
    for kind in script.PRECISIONS:
        ready, *some = script.measure("small", kind, [4, 8], tmp_path / "kept.npz")
        assert ready == {}
        rows += some
    found = {(row["precision"], row["what"]): row for row in rows}
    for what in ("floor", "floor, fetched", "sums on device", "sums on host", "PAIR's loop"):
        assert found["float32", what]["rate"] > 0
    assert found["float32", "sums on device"]["same to the bit"]
    assert "precision=tf32 cannot be computed here" in found["tf32", "all else"]["why"]
    assert found["float32", "floor, XLA"].keys() & {"rate", "why"}
    said = "".join(json.dumps(row) + "\n" for row in rows)
    code = f"print('{{}}', flush=True); input(); print({said!r}, end=''); exit(3)"

    def start(*_):
        command = [sys.executable, "-c", code]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    monkeypatch.setattr(script, "start", start)
    script.main(["--models", "small", "--out", str(tmp_path / "rows.jsonl")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * (len(rows) + 1) and "ended with 3" in lines[-1]
    stored = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert stored == rows + rows
    code = "print({}, flush=True); input(); import time; time.sleep(60)"
    script.main(["--models", "small", "--seconds", "0.5"])
    assert "out of time" in capsys.readouterr().out
    code = "import time; time.sleep(60)"  # it is never ready
    script.main(["--models", "small", "--seconds", "0.5"])
    assert "out of time" in capsys.readouterr().out
