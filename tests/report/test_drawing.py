"""Figures that another process draws while a run is computed."""

import io
import math
import time

import pytest

import sanity
from sanity.report.drawing import Drawing, Told
from sanity.report.finish import draw
from tests.pieces import ANY, PICTURES
from tests.report.runs import make_run


def test_images_are_waited_for_and_the_end_of_the_run():
    stream = io.StringIO("1\n3\nall\nleft\n")
    told = Told(stream)
    told.wait(2)
    told.wait(3)
    assert stream.readline() == "all\n"
    stream.seek(4)
    told.wait(math.inf)
    assert stream.read() == "left\n"


@pytest.mark.parametrize("said", ["", "2\n"])
def test_a_run_that_ends_early_ends_the_drawing(said):
    with pytest.raises(SystemExit):
        Told(io.StringIO(said)).wait(3)


def test_each_image_is_drawn_as_soon_as_it_is_ready(tmp_path):
    run, seen = make_run(tmp_path / "run"), {}

    def ready(images):
        seen[images] = {path.name for path in (run / "figures").glob("*")}

    draw(run, ready=ready)
    assert list(seen)[0] == 1 and list(seen)[-1] == math.inf
    screens = [sum("signed" in name for name in names) for names in seen.values()]
    assert screens[:3] == [0, 1, 2]
    assert "grids.pdf" in seen[math.inf] and "curves.png" not in seen[math.inf]
    assert (run / "figures" / "curves.png").exists()


def test_without_a_process_nothing_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", str(tmp_path / "nothing"))
    with Drawing(tmp_path) as drawing:
        drawing.tell(1)
        assert not drawing.wait()
        drawing.start(stages=False)
        drawing.tell(math.inf)
        assert not drawing.wait()


def test_what_an_interrupted_drawing_leaves_is_removed(tmp_path):
    run = make_run(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt), Drawing(run) as drawing:
        drawing.start(stages=False)
        drawing.tell(1)
        until = time.monotonic() + 120
        while not list((run / "figures").glob(".grids.pdf.*")) and time.monotonic() < until:
            time.sleep(0.02)
        assert list((run / "figures").glob(".grids.pdf.*"))
        raise KeyboardInterrupt
    assert not list((run / "figures").glob(".*"))


@pytest.mark.slow
def test_a_run_that_is_drawn_beside_has_the_same_figures(tmp_path, monkeypatch):
    for module in ("sanity.experiment.compute", "sanity.report.finish"):
        monkeypatch.setattr(f"{module}.LARGE", 0)
    with monkeypatch.context() as patch:
        patch.setattr("sanity.report.finish.draw", None)  # so this process draws nothing
        job = [*ANY, *PICTURES, "masks.keep=2", "method=[gradient]", "layers.last=1"]
        run = sanity.run([*job, f"output={tmp_path}"]).path
    beside = {path.name: path.read_bytes() for path in (run / "figures").iterdir()}
    draw(run)
    assert beside == {path.name: path.read_bytes() for path in (run / "figures").iterdir()}
    assert (run / "report.html").exists() and "grids.pdf" in beside


def test_masks_without_images_have_curves(tmp_path):
    run = make_run(tmp_path / "run", old=True)
    draw(run)
    assert {file.stem for file in (run / "figures").iterdir()} == {"curves", "curves_wide"}
