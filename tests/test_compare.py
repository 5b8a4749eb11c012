"""Comparing runs, on run folders made by hand."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from sanity import load_predictions, load_runs
from sanity.analysis.differences import differences, differing_keys
from sanity.analysis.intervals import mean as interval
from sanity.analysis.means import means, pivot
from sanity.analysis.schemes import load_schemes
from sanity.analysis.verdict_tables import verdict_tables
from sanity.compare import main
from sanity.config.job import compose
from sanity.errors import ConfigError
from sanity.experiment.references import write_references
from sanity.experiment.rescore import chosen_metrics, rescore
from sanity.files import read_json, write_json
from sanity.metrics import Pearson, score
from sanity.metrics.scoring import References, Scorer
from sanity.randomness import generator
from sanity.report.page.collect import collect
from sanity.results.folder import RunFolder

NAMES = [f"image_{i}" for i in range(7)]
LAYERS = ["", "top", "middle", "stem"]
SHAPES = {"guided_backprop": (32, 32, 3), "gradient": (32, 32, 3), "edge_detector": (32, 32)}
STRENGTH = {"guided_backprop": 0.2, "gradient": 6.0, "edge_detector": 0.0}  # of what changes
METRICS = ["metric=[ssim,pearson]"]


def masks_of(method, stage, seed=0, names=NAMES):
    """The original plus noise, whose strength depends on the method."""
    masks = []
    for name in names:
        original = generator(method, name).standard_normal(SHAPES[method])
        noise = generator(method, name, stage, seed).standard_normal(SHAPES[method])
        masks.append(original + (stage > 0) * STRENGTH[method] * noise)
    return np.array(masks, np.float32)


@pytest.fixture(scope="module", autouse=True)
def made(tmp_path_factory):
    """The folder of what `make_run` has made."""
    global MADE
    MADE = tmp_path_factory.mktemp("made")


def make_run(path, *overrides, **options):
    """A run with masks; one that was made before and is completed is copied."""
    if not options.get("finish", True):
        return write_run(path, *overrides, **options)  # its lock lies beside it
    known = MADE / generator(*overrides, repr(options)).bytes(8).hex()
    if not known.exists():
        write_run(known, *overrides, **options)
    shutil.copytree(known, path)
    write_json(path / "run.json", {**read_json(path / "run.json"), "run": path.name})
    return path


def write_run(path, *overrides, metrics=METRICS, names=NAMES, keep=None, finish=True):
    """Writes a run as the experiment would."""
    methods = list(SHAPES)
    job = compose([f"method=[{','.join(methods)}]", *metrics, *overrides])
    seed, n, kept = job.settings.seed, len(names), len(names) if keep is None else keep
    targets = np.arange(n)
    other = {method: masks_of(method, 0, seed, ["other_a", "other_b"]) for method in SHAPES}
    references = References(["other_a", "other_b"], other, np.ones((n, 2), bool))
    scorer = Scorer(job.metrics, names, job.settings.null_model, references=references)
    hydra = {"runtime": {"choices": job.choices}}
    with RunFolder.open(path, job.config, job.overrides, hydra) as run:
        run.start({})
        run.create_masks(names[:kept], LAYERS, SHAPES)
        for group in (range(0, 4), range(4, n)):
            for index, layer in enumerate(LAYERS):
                masks = {
                    m: masks_of(m, index, seed, names)[group.start : group.stop] for m in SHAPES
                }
                scores = scorer.score(group, index, layer, masks, targets[group])
                for m in methods:
                    run.write_masks(m, group, index, masks[m])
                run.write_unit(f"g{group.start}-s{index}", scores, predictions_of(group, index))
        write_references(run.path, references)
        if finish:
            run.complete()
    return path


def predictions_of(group, stage):
    names = NAMES[group.start : group.stop]
    fixed = {"stage": stage, "layer": LAYERS[stage], "predicted": 1, "predicted_name": "a"}
    numbers = {"probability": 0.5, "target": 1, "target_probability": 0.5, "target_logit": 0.1}
    rest = {"logit_std": 1.0, "between_share": 0.4, "entropy": 1.0}
    return pd.DataFrame({"image": names, **fixed, **numbers, **rest})


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two seeds of a cascade, and one of them under a second name."""
    top = tmp_path_factory.mktemp("runs")
    for name, seed in (("x", 0), ("x", 1), ("y", 0)):
        job = compose([f"seed={seed}", f"name={name}"])
        make_run(top / name / job.run_id, f"seed={seed}", f"name={name}")
    return top


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("template") / "run")


@pytest.fixture
def one(template, tmp_path):
    """A run of a test's own."""
    return shutil.copytree(template, tmp_path / "run")


def said(capsys, *arguments):
    main([str(a) for a in arguments])
    return capsys.readouterr().out


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(a) for a in arguments])
    assert stopped.value.code == 2
    text = capsys.readouterr().err
    assert text.startswith("sanity-compare: ") and text.count("\n") == 1
    return text


def test_means_by_hand(one):
    table = means(load_schemes([one]), ["metric", "stage", "method"])
    row = table.set_index(["metric", "stage", "method"]).loc["pearson", 2, "gradient"]
    values = score(Pearson(), masks_of("gradient", 0), masks_of("gradient", 2))
    np.testing.assert_allclose(row["mean"], values.mean(), rtol=1e-12)
    scores = load_runs(one)
    chosen = scores[
        (scores[["metric", "stage", "method"]] == ["pearson", 2, "gradient"]).all(axis=1)
    ]
    expected = interval(values, (chosen["null"].mean(), 1.0))
    np.testing.assert_allclose([row["low"], row["high"]], [expected.low, expected.high])
    assert row["images"] == 7 and row["seeds"] == 1 and row["layer"] == "middle"
    assert len(table) == 2 * 4 * 3
    assert table["metric"].tolist() == ["ssim"] * 12 + ["pearson"] * 12
    assert table["stage"].tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3 + (
        [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    )


def test_area_where_stages_are_not_told_apart(one):
    scores = load_schemes([one])
    table = means(scores, ["metric", "method"]).set_index(["metric", "method"])
    part = scores[(scores["metric"] == "pearson") & (scores["method"] == "gradient")]
    curve = part.groupby("stage")["value"].mean().to_numpy()
    area = (curve[0] / 2 + curve[1] + curve[2] + curve[3] / 2) / 3
    assert table.loc[("pearson", "gradient"), "mean"] == pytest.approx(area)
    assert table.loc[("pearson", "edge_detector"), "mean"] == pytest.approx(1)


def test_seeds_are_crossed_and_a_run_counts_once(runs):
    scores = load_schemes([runs])
    assert scores["path"].nunique() == 2 and set(scores["scheme"]) == {""}
    table = means(scores, ["metric", "stage", "method"])
    assert (table["seeds"] == 2).all() and (table["images"] == 7).all()
    row = table.set_index(["metric", "stage", "method"]).loc["pearson", 1, "gradient"]
    values = [
        score(Pearson(), masks_of("gradient", 0), masks_of("gradient", 1, seed)) for seed in (0, 1)
    ]
    assert row["mean"] == pytest.approx(np.mean(values))
    by_seed = means(scores, ["metric", "stage", "method", "seed"])
    assert (by_seed["seeds"] == 1).all() and len(by_seed) == 2 * len(table)


def test_one_image_has_no_interval(one):
    scores = load_schemes([one])
    table = means(scores[scores["image"] == "image_0"], ["metric", "stage", "method"])
    assert table["low"].isna().all() and (table["images"] == 1).all()
    assert pivot(table).iloc[0].tolist() == ["1.00"] * 3


def test_what_is_not_alike_is_not_averaged(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", "target=3", "metric.ssim.sigma=2")
    scores = load_schemes([tmp_path])
    kinds = scores.groupby("metric", observed=True)["scheme"].unique().to_dict()
    assert set(kinds["pearson"]) == {"target_rule=3", "target_rule=predicted"}
    table = means(scores, ["metric", "stage", "method"])
    assert table.columns[0] == "scheme" and (table["images"] == 7).all()
    own = means(scores, ["target_rule", "metric", "method"])
    assert list(own.columns[:3]) == ["target_rule", "metric", "method"]
    assert {"method", "metric"} <= set(means(scores, ["stage"]).columns)


def test_several_metrics_make_a_row_each_and_lists_have_brackets(tmp_path, capsys):
    make_run(tmp_path / "a")
    short = ["--no-verdicts", "--by"]
    one, other = (said(capsys, tmp_path, *short, by) for by in ("method", "[metric,method]"))
    assert one == other and "ssim" in one and "pearson" in one
    assert "pearson" not in said(capsys, tmp_path, "--metric", "[ssim]", *short, "method")


def test_only_a_metrics_own_settings_set_its_scores_apart(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", "metric.ssim.sigma=2", "seed=1")
    scores = load_schemes([tmp_path])
    kinds = scores.groupby("metric", observed=True)["scheme"].unique().to_dict()
    assert set(kinds["ssim"]) == {"metric.ssim.sigma=1.5", "metric.ssim.sigma=2.0"}
    assert list(kinds["pearson"]) == [""]


def test_what_changes_no_score_sets_nothing_apart(tmp_path):
    """Seeds are averaged whatever figures were drawn and whatever was rescored."""
    for seed, figures in ((0, "grids"), (1, "stages")):
        make_run(tmp_path / f"run{seed}", f"seed={seed}", f"figures={figures}")
    rescore(tmp_path / "run1", *chosen_metrics(["metric=[top_k,mse]"]))
    scores = load_schemes([tmp_path])
    assert set(scores["scheme"]) == {""}
    assert set(means(scores, ["metric", "method"])["seeds"]) == {1, 2}
    data = collect(scores)
    assert [group["runs"] for group in data["groups"]] == [[0, 1]]


def test_a_rescored_run_and_one_with_the_metric_from_the_start_are_one_scheme(tmp_path):
    """A list among a metric's settings stands in both as it is overridden."""
    clipped = ["metric=[ssim]", "metric.ssim.clip=[0,1]"]
    make_run(tmp_path / "run0", metrics=clipped)
    make_run(tmp_path / "run1", "seed=1", metrics=["metric=[pearson]"])
    rescore(tmp_path / "run1", *chosen_metrics(clipped))
    scores = load_schemes([tmp_path])
    assert set(scores["scheme"]) == {""}
    assert set(means(scores[scores["metric"] == "ssim"], ["method"])["seeds"]) == {2}


def test_rescored_scores_of_an_exploded_network_say_so(one):
    import pyarrow.parquet as pq

    path = one / "predictions.parquet"
    table = pq.read_table(path).to_pandas()
    table["logit_std"] = table["logit_std"].mask(table["stage"] == 2, 1e8)
    table.to_parquet(path)
    rescore(one, *chosen_metrics(["metric=[mse]"]))
    scores = load_runs(one, metric="mse")
    reasons = scores.groupby("stage")["reason"].agg(lambda found: set(found.dropna()) - {""})
    assert [len(said) for said in reasons] == [0, 0, 1, 0]
    assert "the network has exploded" in reasons[2].pop()


def test_pooled_runs_with_other_thresholds_are_said(tmp_path, caplog):
    for seed, value in ((0, 0.5), (1, 0.6)):
        make_run(tmp_path / f"run{seed}", f"seed={seed}", f"verdict.threshold={value}")
    verdict_tables([tmp_path], load_schemes([tmp_path]))
    (said,) = [message for message in caplog.messages if "thresholds" in message]
    assert "run0, threshold=0.5" in said and "--verdict threshold=0.5" in said


def test_tables_join_from_wherever_their_path_was_said(one, monkeypatch):
    monkeypatch.chdir(one.parent)
    scores, predictions = load_runs("run"), load_predictions(one)
    assert len(scores.merge(predictions, on=["path", "image", "stage"])) == len(scores)


def test_a_sweep_over_one_methods_settings_compares(tmp_path, capsys):
    """What is the same in both runs counts once: the other methods' scores."""
    for steps in (2, 4):
        run = make_run(tmp_path / str(steps))
        info = json.loads((run / "run.json").read_text())
        info["columns"]["method.gradient.steps"] = steps
        (run / "run.json").write_text(json.dumps(info))
    scores = load_schemes([tmp_path])
    schemes = scores.groupby("method", observed=True)["scheme"].agg(set)
    assert schemes["edge_detector"] == {""} and len(schemes["gradient"]) == 2
    table = means(scores, ["metric", "stage", "method"])
    assert set(table["images"]) == {len(NAMES)} and set(table["seeds"]) == {1}
    assert "gradient" in said(capsys, tmp_path)


def test_what_varies_with_the_seed_sets_schemes_apart_on_the_page_as_well(tmp_path):
    for seed, initializer in ((0, "truncated_normal"), (1, "uniform")):
        make_run(tmp_path / str(seed), f"seed={seed}", f"randomization.initializer={initializer}")
    scores = load_schemes([tmp_path])
    assert scores["scheme"].nunique() == 2
    data = collect(scores)
    assert [group["runs"] for group in data["groups"]] == [[0], [1]]
    assert "randomization.initializer" in data["differ"]


def test_other_scores_of_the_same_settings_are_refused(tmp_path):
    """As of a model that was trained again in place."""
    one, other = make_run(tmp_path / "one"), make_run(tmp_path / "other")
    table = pq.read_table(other / "scores.parquet").to_pandas()
    table["value"] = table["value"].where(table["stage"] == 0, 0.5)
    pq.write_table(pa.Table.from_pandas(table), other / "scores.parquet")
    with pytest.raises(ConfigError, match=r"one.* and .*other hold different scores"):
        load_schemes([tmp_path])
    table = pq.read_table(one / "scores.parquet").to_pandas()
    table.loc[table["stage"] == 2, "value"] = np.nan  # it has none where the other has some
    pq.write_table(pa.Table.from_pandas(table), other / "scores.parquet")
    with pytest.raises(ConfigError, match="hold different scores"):
        load_schemes([tmp_path])
    assert len(load_schemes([one])) == len(load_schemes([other]))


def test_runs_of_other_layers_are_not_paired(tmp_path, capsys):
    one, other = make_run(tmp_path / "one"), make_run(tmp_path / "other", "seed=1")
    table = pq.read_table(other / "scores.parquet").to_pandas()
    swapped = table["layer"].replace({"top": "stem", "stem": "top"})
    pq.write_table(pa.Table.from_pandas(table.assign(layer=swapped)), other / "scores.parquet")
    text = refused(capsys, "--diff", one, other)
    assert "cannot be paired: at stage 1" in text and "randomizes top" in text


def test_lists_set_runs_apart(tmp_path):
    make_run(tmp_path / "a", "layers.names=[logits]")
    make_run(tmp_path / "b", "layers.names=[logits,head]")
    assert set(load_schemes([tmp_path])["scheme"]) == {
        "layers.names=[logits]",
        "layers.names=[logits,head]",
    }


def test_nothing_is_minus_zero():
    row = {"method": "gradient", "mean": -0.001, "low": -0.002, "high": 0.1, "images": 3}
    assert pivot(pd.DataFrame([row])).to_numpy().tolist() == [["0.00 [0.00, 0.10]"]]


def test_the_metric_that_decides_stands_beside_those_asked_for(one, tmp_path, capsys):
    file = tmp_path / "table.md"
    out = said(capsys, one, "--quiet", "--metric", "pearson", "--markdown", file)
    assert "by ssim over early stage" in out and "pearson" in out
    assert "ssim decides, the others stand beside it" in file.read_text()


def test_means_by_what_all_runs_share(one, capsys):
    assert "gradient" in said(capsys, one, "--no-verdicts", "--metric", "ssim", "--by", "scheme")


def test_tables_as_text(one, tmp_path, capsys):
    table = means(load_schemes([one]), ["metric", "stage", "method"])
    wide = pivot(table)
    assert list(wide.columns) == list(SHAPES)
    assert wide.index[0] == ("ssim", "0 trained") and wide.index[1] == ("ssim", "1 top")
    row = table.set_index(["metric", "stage", "method"]).loc["ssim", 1, "gradient"]
    cell = f"{row['mean']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
    assert wide.loc[("ssim", "1 top"), "gradient"] == cell
    files = [tmp_path / "new" / f"table.{kind}" for kind in ("csv", "md", "tex")]
    out = said(
        capsys,
        *(one, "--csv", files[0], "--markdown", files[1], "--latex", files[2]),
        *("--no-verdicts", "--metric", "ssim"),
    )
    assert "95 % interval over 7 images, 1 seed" in out and cell in out
    assert "pearson" not in out and "insensitive" not in out
    assert out.splitlines()[-3:] == [f"wrote {file}" for file in files]
    read = pd.read_csv(files[0], keep_default_na=False)
    expected = table[table["metric"] == "ssim"]
    np.testing.assert_allclose(read["mean"], expected["mean"], rtol=1e-15)
    markdown, latex = files[1].read_text(), files[2].read_text()
    assert f"| {cell} |" in markdown and "| --- | ---: | ---: | ---: |" in markdown
    assert latex.count("&") == 5 * 3 and r"guided\_backprop" in latex
    assert markdown.count("ssim") == latex.count("ssim") == 1
    assert said(capsys, one, "--no-verdicts", "--quiet") == ""


def test_runs_that_are_not_completed_are_left_out_and_it_is_said(one, tmp_path, caplog):
    make_run(tmp_path / "unfinished", "seed=5", finish=False)
    assert len(load_schemes([tmp_path])) == len(load_schemes([one]))
    assert caplog.text.count("left out of 2 runs: 1 interrupted (sanity.runs lists them)") == 1


def test_figure(runs, tmp_path, capsys):
    said(capsys, runs, "--quiet", "--no-verdicts", "--figure", tmp_path / "f" / "curves.png")
    assert (tmp_path / "f" / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert "must end in .pdf" in refused(capsys, runs, "--figure", tmp_path / "curves.doc")


def test_verdicts_of_runs(runs, capsys):
    (found,) = verdict_tables([runs], load_schemes([runs])).values()
    for metric in ("ssim", "pearson"):
        verdict = found[found["metric"] == metric].set_index("method")["verdict"].to_dict()
        assert verdict == {
            "guided_backprop": "insensitive",
            "gradient": "sensitive",
            "edge_detector": "none",
        }
    assert (found["seeds"] == 2).all()
    row = found.set_index(["metric", "method"]).loc["pearson", "gradient"]
    last = [masks_of("gradient", 3, seed) for seed in (0, 1)]
    unrelated = score(Pearson(), *last).mean()
    assert row["unrelated"] == pytest.approx(unrelated)
    expected = (row["final_score"] - unrelated) / (1 - unrelated)
    assert row["final"] == pytest.approx(expected)
    out = said(capsys, runs, "--quiet")
    assert "guided_backprop  insensitive" in out and "edge_detector    – (control)" in out
    few = said(capsys, runs, "--quiet", "--verdict", "images=8")
    assert "guided_backprop  leans insensitive" in few and "8 images:" in few


@pytest.mark.slow
def test_thresholds_and_widths(one, capsys):
    out = said(capsys, one, "--quiet", "--no-verdicts", "--thresholds", "--width", "0.1")
    lines = [line.split() for line in out.splitlines()]
    assert "verdicts with each threshold moved alone" in out and "width 0.1 takes" in out
    assert ["0.5", "0", "–"] in lines and ["5", "0", "–"] in lines
    assert "10 2 guided_backprop: leans insensitive, " in " ".join(out.split())
    assert [line[:1] for line in lines].count(["gradient"]) == 1
    by = said(capsys, one, "--quiet", "--verdict", "primary=pearson", "--metric", "pearson")
    judged, _, command = by.partition("Next")
    assert "by pearson over early stage 1 of 3" in judged and "ssim" not in judged
    assert "seed=0,1,2" in command
    assert "must be a metric of the run" in refused(capsys, one, "--verdict", "primary=hog")


def test_of_one_image_there_is_no_width(tmp_path, capsys):
    run = make_run(tmp_path / "run")
    table = pq.read_table(run / "scores.parquet").to_pandas()
    alone = table[table["image"] == "image_0"]
    pq.write_table(pa.Table.from_pandas(alone), run / "scores.parquet")
    out = said(capsys, run, "--quiet", "--no-verdicts", "--width", "0.1")
    assert "no method has an early similarity over two images" in out


@pytest.mark.parametrize("width", ["78", "44"])
def test_tables_fit_the_terminal(runs, one, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", width)
    out = said(capsys, runs, "--quiet", "--no-verdicts", "--pairs", "--width", "0.1")
    for words in ("methods by rank", "ssim · gradient −", "difference", "images that an interval"):
        assert words in out
    a, b = sorted((runs / "x").glob("*-seed*"))
    out += said(capsys, "--diff", a, b).split("\n", 2)[2]  # below the folders
    assert "largest" in out
    out += said(capsys, one, "--quiet", "--no-verdicts", "--thresholds")
    assert "verdicts with each threshold moved alone" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= int(width)


def test_one_seed_has_no_final_similarity(one):
    (found,) = verdict_tables([one], load_schemes([one])).values()
    assert found["final"].isna().all() and "one draw" in found["evidence"].iloc[0]


def test_diff(runs, tmp_path, capsys):
    a, b = sorted((runs / "x").glob("*-seed*"))
    assert ("seed", "0", "1") in differing_keys(a, b)
    assert len(differing_keys(a, b)) == 1
    table = differences(a, b).set_index(["metric", "method"])
    deltas = []
    largest = 0.0
    for stage in (1, 2, 3):
        original = masks_of("gradient", 0)
        old, new = (score(Pearson(), original, masks_of("gradient", stage, s)) for s in (0, 1))
        deltas.append(new - old)
        largest = max(largest, np.abs(new - old).max())
    row = table.loc["pearson", "gradient"]
    mean = np.mean(deltas, axis=0)
    assert row["mean"] == pytest.approx(mean.mean()) and row["largest"] == pytest.approx(largest)
    p = stats.ttest_1samp(mean, 0).pvalue
    assert row["p"] == pytest.approx(min(1, p * len(table)))  # Holm's of the smallest
    assert table.loc[("pearson", "edge_detector"), "largest"] == 0
    out = said(capsys, "--diff", a, b)
    assert "seed: 0 → 1" in out and "B − A" in out
    same = said(capsys, "--diff", a, runs / "y" / a.name)
    assert 'name: "x" → "y"' in same
    assert (differences(a, runs / "y" / a.name)[["largest", "alone"]] == 0).all(axis=None)
    assert "must be one run's folder" in refused(capsys, "--diff", a, runs)


def test_a_difference_is_over_what_both_have(tmp_path, capsys):
    one, other = make_run(tmp_path / "one"), make_run(tmp_path / "other", "seed=1")
    table = pq.read_table(other / "scores.parquet").to_pandas()
    mine = (table["method"] == "gradient") & (table["metric"] == "pearson")
    gone = mine & (table["image"] == "image_0") & (table["stage"] == 3)
    table.loc[gone, "value"] = np.nan
    table = table[~(mine & (table["image"] == "image_1"))]
    pq.write_table(pa.Table.from_pandas(table), other / "scores.parquet")
    found = differences(one, other).set_index(["metric", "method"])
    row = found.loc["pearson", "gradient"]
    both = load_runs(one).merge(table, on=["image", "method", "stage", "metric"])
    both = both[both["image"].isin([f"image_{k}" for k in range(2, 7)]) & (both["stage"] > 0)]
    chosen = both[(both["method"] == "gradient") & (both["metric"] == "pearson")]
    assert row["mean"] == pytest.approx((chosen["value_y"] - chosen["value_x"]).mean())
    assert (row["images"], row["alone"]) == (5, 5)
    assert found["alone"].sum() == 5
    assert "5 scores are in one of the two alone" in said(capsys, "--diff", one, other)


@pytest.mark.parametrize("null", ["other_image", "shuffled"])
def test_rescored_scores_equal_those_stored(tmp_path, capsys, null):
    run = make_run(tmp_path / "run", f"null_model={null}")
    before = (run / "scores.parquet").read_bytes()
    out = said(capsys, run, "--rescore", "metric=[ssim,pearson]")
    assert out.count("84 scores, equal to those stored") == 2
    assert (run / "scores.parquet").read_bytes() == before


def test_new_metrics_are_added(one, tmp_path, capsys):
    """As if the run had had them from the start."""
    whole = make_run(tmp_path / "whole", metrics=["metric=[ssim,pearson,mse,spearman]"])
    old = load_runs(one)
    out = said(capsys, one, "--rescore", "metric=[ssim,mse,spearman]")
    assert "ssim: 84 scores, equal" in out
    assert "mse: 84 scores added" in out and "spearman: 84 scores added" in out
    keys = ["metric", "method", "stage", "image"]
    columns = [*keys, "value", "null", "reason", "target", "layer"]
    a, b = (
        load_runs(run)[columns].astype({k: str for k in keys}).sort_values(keys)
        for run in (one, whole)
    )
    pd.testing.assert_frame_equal(
        a.reset_index(drop=True), b.reset_index(drop=True), check_categorical=False
    )
    kept = load_runs(one).head(len(old))
    np.testing.assert_array_equal(kept["value"], old["value"])
    info = json.loads((one / "run.json").read_text())
    assert info["rows"] == len(a) and set(info["rescored"]) == {"mse", "spearman"}
    assert info["columns"]["metric.mse.scale"] == "second_moment"
    assert "84 scores, equal" in said(capsys, one, "--rescore", "metric=[mse]")
    assert "with another pool" in refused(
        capsys, one, "--rescore", "metric=[mse]", "metric.mse.pool=2"
    )
    (found,) = verdict_tables([one], load_schemes([one])).values()
    by = found.set_index(["metric", "method"])["verdict"]
    assert by["mse", "guided_backprop"] == "insensitive" and by["mse", "gradient"] == "sensitive"


def test_a_crash_before_the_record_is_repaired(one):
    """Scores of a metric that run.json does not know are replaced, not doubled."""
    info = (one / "run.json").read_bytes()
    metrics, nodes = chosen_metrics(["metric=[mse]"])
    rescore(one, metrics, nodes)
    once = load_runs(one)
    (one / "run.json").write_bytes(info)
    rescore(one, metrics, nodes)
    pd.testing.assert_frame_equal(load_runs(one), once)


def test_rescoring_notices_a_changed_score(one, capsys):
    import pyarrow.parquet as pq

    table = pq.read_table(one / "scores.parquet").to_pandas()
    where = table.index[(table["metric"] == "ssim") & (table["stage"] == 2)][0]
    table.loc[where, "value"] += 0.25
    table.to_parquet(one / "scores.parquet")
    out = said(capsys, one, "--rescore", "metric=[ssim]")
    assert "84 scores, up to 0.25 from those stored" in out


def test_rescoring_the_first_images_only(tmp_path):
    run = make_run(tmp_path / "run", keep=3)
    metrics, nodes = chosen_metrics(["metric=[ssim,mse]"])
    found = rescore(run, metrics, nodes).set_index("metric")
    assert (found["rows"] == 3 * 3 * 4).all()
    assert found.loc["ssim", "largest"] == 0 and found.loc["mse", "added"]
    scores = load_runs(run, metric="mse")
    assert not scores[["value", "null"]].isna().any(axis=None)


def test_rescoring_without_the_other_images_masks(tmp_path):
    """As in runs of former versions: nulls are not known, and those there are kept."""
    run = make_run(tmp_path / "run")
    (run / "references.npz").unlink()
    metrics, nodes = chosen_metrics(["metric=[ssim,mse]"])
    assert rescore(run, metrics, nodes).set_index("metric").loc["ssim", "largest"] == 0
    scores = load_runs(run, metric="mse")
    assert scores["null"].isna().all() and scores["value"].notna().all()
    (run / "references.npz").write_bytes(b"PK")
    with pytest.raises(ConfigError, match=r"references\.npz"):
        rescore(run, metrics, nodes)


def test_mistakes_are_one_sentence(one, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    unfinished = make_run(tmp_path / "unfinished", finish=False)
    assert "no run below" in refused(capsys, tmp_path / "empty")
    assert "nowhere" in refused(capsys, tmp_path / "nowhere")
    assert "PATH must be given" in refused(capsys)
    assert "is completed" in refused(capsys, unfinished)
    assert "not completed" in refused(capsys, unfinished, "--rescore", "metric=[mse]")
    assert "--by sead is no column of these runs; did you mean seed?" in refused(
        capsys, one, "--by", "sead"
    )
    assert "--metric sim is none of ssim, pearson" in refused(capsys, one, "--metric", "sim")
    assert "metric=[…]" in refused(capsys, one, "--rescore", "seed=1")
    assert "metric=sim is unknown; did you mean metric=ssim" in refused(
        capsys, one, "--rescore", "metric=[sim]"
    )
    assert "metric=sim is unknown" in refused(capsys, one, "--rescore", "ssim,sim")
    assert "into the list of metric" in refused(capsys, one, "--rescore", "mse", "metric=[ssim]")
    assert "--verdict treshold=1 must be" in refused(capsys, one, "--verdict", "treshold=1")
    assert "must be a number" in refused(capsys, one, "--verdict", "threshold=high")
    for width in ("0", "-0.1", "nan", "inf"):
        assert f"--width {width} must be above 0" in refused(capsys, one, f"--width={width}")
    assert "verdict.threshold=2" in refused(capsys, one, "--quiet", "--verdict", "threshold=2")
    (one / "scores.parquet").write_bytes(b"PAR1")
    assert "damaged" in refused(capsys, one)


def test_a_run_without_masks_cannot_be_rescored(tmp_path, capsys):
    run = make_run(tmp_path / "run", keep=0)
    assert "holds no masks" in refused(capsys, run, "--rescore", "metric=[mse]")
    (found,) = verdict_tables([run], load_schemes([run])).values()
    assert "insensitive" in set(found["verdict"])  # metrics are trusted


@pytest.mark.slow
def test_as_a_command_without_tensorflow(one):
    code = (
        "import sys; from sanity.compare import main; main(sys.argv[1:]);"
        "assert 'tensorflow' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(one)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "insensitive" in done.stdout
