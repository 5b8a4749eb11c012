"""What `sanity.run` gives in a notebook or a script."""

import gc
import logging
import os
import sys
import warnings
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

import sanity
from sanity.data import Images
from sanity.experiment.explaining import Explained
from sanity.experiment.result import Result
from sanity.models import kept
from sanity.progress import in_notebook, log_owners, progress, show_log, show_progress
from sanity.randomization import Randomization
from sanity.results.folder import RunFolder
from tests.pieces import PICTURES, QUICK

NAME = "<b>evil & ü"


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    output = tmp_path_factory.mktemp("out")
    return sanity.run(overrides=[*QUICK, *PICTURES, f"output={output}"])


def test_a_result_is_its_folder_and_what_is_in_it(result):
    assert os.fspath(result) == str(result) == str(result.path) and result.status == "completed"
    assert result.report == result / "report.html" and result.report.exists()
    assert result.scores.equals(sanity.load_runs(result))
    assert set(result.predictions["stage"]) == {0, 1, 2, 3}
    assert set(result.masks.data_vars) == {"gradient", "smoothgrad"} and len(result.images) == 1
    answer = result.verdicts[result.verdicts["primary"]]
    assert set(answer["method"]) == {"gradient", "smoothgrad"} and set(answer["metric"]) == {"ssim"}


def test_how_a_result_is_shown(result):
    assert repr(result).endswith("completed: 4 images, 4 stages, 2 methods)")
    assert len(repr(result)) < 300 and repr(result).count("\n") == 0
    page = result._repr_html_()
    assert "gradient" in page and "data:image/png;base64," in page and "by ssim" in page


def test_a_result_is_shown_without_a_figure_and_says_what_is_not_there(tmp_path):
    from sanity.files import write_json

    nothing = Result(tmp_path / "none")
    assert "new" in repr(nothing) and "nothing was computed" in nothing._repr_html_()
    with pytest.raises(sanity.ConfigError, match="has no verdicts: it is new"):
        nothing.verdicts  # noqa: B018
    run = tmp_path / NAME
    run.mkdir()
    verdict = {"method": NAME, "metric": NAME, "primary": True, "verdict": NAME, "evidence": NAME}
    write_json(run / "run.json", {"status": "completed", "verdicts": [verdict], "counts": {}})
    page = Result(run)._repr_html_()
    assert "<b>" not in page and page.count("&lt;b&gt;evil &amp; ü") == 5 and "<img" not in page


def test_interrupted_and_run_again(tmp_path, result):
    """Though the traceback is kept, as notebooks do, the trained weights are back, and stay."""
    overrides = [*QUICK, f"output={tmp_path}"]
    left = iter(range(2))
    write = RunFolder.write_unit

    def interrupted(*args):
        if next(left, None) is None:
            raise KeyboardInterrupt
        write(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "write_unit", interrupted)
        with pytest.raises(KeyboardInterrupt) as kept_alive:
            sanity.run(overrides=overrides)
    assert all(not classifier.weights.changed for classifier in kept._classifiers.values())
    again = sanity.run(overrides=overrides)
    assert again.status == "completed" and again.info["resumed"]
    assert again.scores["value"].equals(result.scores["value"])
    del kept_alive
    gc.collect()


@contextmanager
def bare():
    """No logging set up, as in a new kernel; pytest's handlers come back."""
    root, own = logging.getLogger(), logging.getLogger("sanity")
    before = root.handlers[:], own.handlers[:], own.level
    root.handlers[:], own.handlers[:] = [], []
    own.setLevel("INFO")
    try:
        yield root
    finally:
        root.handlers[:], own.handlers[:] = before[:2]
        own.setLevel(before[2])


def test_log_lines_are_printed_once(capsys):
    log = logging.getLogger("sanity.somewhere")
    with bare() as root:
        for _ in range(2):
            with show_log(), show_log():
                root.addHandler(logging.StreamHandler())  # as an import on the way may do
                log.info("a line")
                logging.getLogger("another").info("not ours")
                root.handlers.clear()
        assert log_owners() == [root] and not logging.getLogger("sanity").handlers
    assert capsys.readouterr().err.splitlines() == ["a line"] * 2


def test_logging_that_is_set_up_is_left_alone(capsys):
    with bare() as root:
        root.addHandler(logging.StreamHandler())
        with show_log():
            logging.getLogger("sanity").info("a line")
    assert capsys.readouterr().err.splitlines() == ["a line"]


@pytest.mark.parametrize("style", ["bar", "lines"])
def test_lines_beside_a_bar_are_printed_once(capsys, style):
    """And nothing is warned of, though there are no widgets."""
    with warnings.catch_warnings(), bare(), show_log():
        warnings.simplefilter("error")
        sys.modules.pop("tqdm.auto", None)
        with show_progress(style), progress(3, "something") as tick:
            tick(1)
            logging.getLogger("sanity").info("a line")
    printed = capsys.readouterr()
    assert (printed.out + printed.err).count("a line") == 1
    assert ("something: " in printed.err) == (style == "bar")


def test_a_notebook_is_told_by_its_kernel(monkeypatch):
    assert not in_notebook()
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    fake = SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", fake)
    assert in_notebook()
    shell.config = {}
    assert not in_notebook()
    fake.get_ipython = lambda: None
    assert not in_notebook()


def test_short_reprs(small, noise_images):
    stages = Randomization().stages(small, small.blocks, seed=0)
    explained = Explained(range(2, 4), stages[1], {"a": np.zeros((2, 9, 9))}, np.zeros(2))
    shown = [repr(x) for x in (noise_images, *stages, explained, small)]
    assert all(len(text) < 120 and "array" not in text for text in shown), shown
    assert shown[0].startswith("Images(5 of ") and "image_0, image_1, image_2 … and 2" in shown[0]
    assert shown[1] == "Stage(0, 'as trained')"
    assert (
        shown[2]
        == f"Stage(1, '{small.blocks[0]} randomized', {len(stages[1].variables)} variables)"
    )
    labelled = Images(noise_images.x[:1], ["one"], [3], ["cat"], [""])
    assert repr(labelled).endswith("1 labelled: one)")
