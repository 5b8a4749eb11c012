"""What results take, and removing what is sanity's own and nothing else."""

import json
import shutil

import pytest

from sanity.commands.clean import main
from sanity.errors import ConfigError
from sanity.files import FolderLock
from sanity.results.cleaning import KINDS, clean, find_parts, is_old
from sanity.results.columns import RESULTS_FORMAT
from tests.results.runs import everything, experiment, interrupted


def change(run, **info):
    file = run / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **info}))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Runs, which take a while to write."""
    folder = tmp_path_factory.mktemp("made")
    experiment(folder / "whole")
    interrupted(folder / "interrupted")
    return folder


@pytest.fixture
def top(made, tmp_path, monkeypatch):
    """A run of each kind, originals, a cache, and files of somebody's own among all."""
    outputs, cache = tmp_path / "outputs", tmp_path / "cache"
    monkeypatch.setenv("SANITY_CACHE", str(cache))
    for name in ("whole", "old", "failed", "interrupted"):
        source = "interrupted" if name == "interrupted" else "whole"
        shutil.copytree(made / source, outputs / "a" / name)
    change(outputs / "a" / "whole", format=RESULTS_FORMAT)
    change(outputs / "a" / "failed", status="failed")
    change(outputs / "a" / "old", format=RESULTS_FORMAT - 1)
    for name in ("ab/0123.npz", "ab/.host-1-2.tmp", "ab/mine.txt", "notes.txt"):
        file = outputs / ".originals" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * 100)
    for name in ("trained/1.npz", "digests.json", "hub/module.pb", "mine.txt"):
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_bytes(b"x" * 50)
    (outputs / "mine").mkdir()
    (outputs / "mine" / "run.json").write_text('{"status": "completed"}')
    (outputs / "a" / "notes.txt").write_text("mine")
    return outputs


def kinds(path):
    return {part.kind for part in find_parts(path)}


def test_what_takes_how_much(top):
    parts = {part.kind: part for part in find_parts(top)}
    assert set(parts) == {"completed", *KINDS}
    whole = top / "a" / "whole"
    size = sum(len(content) for content in everything(whole).values())
    assert parts["completed"].size + parts["masks"].size == size
    assert (parts["originals"].size, parts["originals"].count) == (200, 2)
    assert (parts["cache"].size, parts["cache"].count) == (100, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_asked_for_goes(top, kind):
    before = everything(top.parent)
    done, left = clean(find_parts(top), [kind])
    gone = {name.split("/", 1)[1] for name in before.keys() - everything(top.parent).keys()}
    assert not left and len(done) == 1 and kinds(top) == {"completed", *KINDS} - {kind}
    special = {"masks": "a/whole/", "originals": ".originals/ab/", "cache": ""}
    prefix = special.get(kind, f"a/{kind}/")
    assert gone and all(name.startswith(prefix) for name in gone)
    if kind == "masks":
        assert {name.split("/")[2] for name in gone} == {"masks.zarr"}
    if kind == "cache":
        assert gone == {"trained/1.npz", "digests.json"}
    if kind not in ("masks", "originals", "cache"):
        assert not (top / "a" / kind).exists()


def test_files_of_ones_own_stay_and_are_named(top, capsys):
    run = top / "a" / "failed"
    (run / "figures").mkdir(exist_ok=True)
    (run / "notes.txt").write_text("mine")
    main([str(top), "--remove", "failed"])
    assert [path.name for path in run.iterdir()] == ["notes.txt"]
    assert f"{run} stays: notes.txt are not sanity's" in capsys.readouterr().out


def test_links_are_not_followed(top, tmp_path):
    """Neither to a run, nor from within one."""
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(top / "a" / "whole", elsewhere / "run")
    change(elsewhere / "run", status="failed")
    (top / "a" / "link").symlink_to(elsewhere / "run")
    (top / "b").symlink_to(elsewhere)
    masks = top / "a" / "failed" / "masks.zarr"
    shutil.rmtree(masks)
    masks.symlink_to(elsewhere)
    before = everything(elsewhere)
    clean(find_parts(top), list(KINDS))
    assert everything(elsewhere) == before
    assert (top / "a" / "link").is_symlink() and not (top / "a" / "failed").exists()


def test_a_run_at_work_stays(top):
    run = top / "a" / "interrupted"
    lock = FolderLock(run)
    lock.acquire(wait=False)
    try:
        done, left = clean(find_parts(top), ["interrupted"])
    finally:
        lock.release()
    assert not done and "is in use by process" in left[0] and (run / "run.json").exists()


def test_a_run_that_was_finished_in_the_meantime_stays(top):
    parts = find_parts(top)
    change(top / "a" / "interrupted", status="completed")
    done, left = clean(parts, ["interrupted"])
    assert not done and "has gone on" in left[0]


@pytest.mark.parametrize(
    "content", ['{"status": "completed"}', "[", "[]", '{"run": 1, "status": "failed"}']
)
def test_what_only_looks_like_a_run_is_left_alone(tmp_path, content):
    folder = tmp_path / "run"
    (folder / "figures").mkdir(parents=True)
    (folder / "run.json").write_text(content)
    (folder / "figures" / "precious.png").write_text("")
    with pytest.raises(ConfigError, match="nothing of sanity's"):
        find_parts(tmp_path)


def test_the_format_of_a_run_before_it_was_recorded(monkeypatch):
    from sanity.config.job import compose

    job = compose(["method=[gradient]"])
    info = {"run": job.run_id, "content": json.loads(json.dumps(job.content, default=str))}
    assert not is_old(info)
    monkeypatch.setattr("sanity.results.cleaning.RESULTS_FORMAT", RESULTS_FORMAT + 1)
    assert is_old(info) and is_old({"run": "x"}) and is_old({"format": RESULTS_FORMAT})


def test_the_command(top, capsys):
    main([str(top)])
    printed = capsys.readouterr().out
    assert str(top / "a" / "interrupted") in printed and "--remove" in printed
    assert kinds(top) == {"completed", *KINDS}
    main([str(top), "--remove", "originals,old"])
    assert kinds(top) == {"completed", *KINDS} - {"originals", "old"}
    assert "removed " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "PATH must be given"),
        (["nowhere"], "nowhere is no folder"),
        ([".", "--remove", "all"], "--remove all is none of interrupted"),
        (["."], "nothing of sanity's"),
    ],
)
def test_mistakes(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2 and message in capsys.readouterr().err
