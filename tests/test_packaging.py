"""What is built for the package index: its name, what is in it, and that it runs elsewhere."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
from email.parser import Parser
from zipfile import ZipFile

import pytest
import yaml

import sanity as library
from tests.command import ROOT, THREADS, command

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAME, EXTRAS = PROJECT["name"], PROJECT["optional-dependencies"]
TEXTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "sanity/**/*.py", "conf/**/*.yaml", ".github/**/*")
    for path in ROOT.glob(pattern)
    if path.is_file()
)
# What a command installs, to the end of its words: names, extras, versions, options.
_WORD = r"-{1,2}[\w-]+|['\"]?[\w.-]+(?:\[[\w,]+\])?(?:[=<>~!]=?[\w.*]+)?['\"]?"
INSTALLS = re.compile(rf"pip install((?:[\s#]+(?:{_WORD}))+)")
OURS = re.compile(r"^(?:\.|sanity|saliency[-_]sanity)(?:\[([\w,]+)\])?$")


def installed():
    """What the texts tell people to install from here, with the file that says so."""
    for path in TEXTS:
        for match in INSTALLS.finditer(path.read_text()):
            for word in match.group(1).split():
                if ours := OURS.match(word.strip("'\"")):
                    yield path.relative_to(ROOT), word.strip("'\""), ours.group(1)


def test_texts_install_this_project_and_extras_that_it_has():
    found = list(installed())
    assert len(found) > 5
    wrong = [
        (str(path), word)
        for path, word, extras in found
        if re.match(r"sanity(\[|$)", word) or set((extras or "").split(",")) - {"", *EXTRAS}
    ]
    assert wrong == []


def test_messages_name_extras_that_exist():
    code = "".join(path.read_text() for path in (ROOT / "sanity").rglob("*.py"))
    named = re.findall(r"how_to_install\(['\"](\w+)['\"]\)", code)
    assert named and set(named) <= set(EXTRAS)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A source distribution of the tracked files, unpacked, and the wheel that it makes."""
    folder = tmp_path_factory.mktemp("built")
    listed = command(["git", "ls-files", "-z"], ROOT).stdout.split("\0")
    source = folder / "source"
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = "from setuptools import build_meta; print(build_meta.build_sdist('..'))"
    command([sys.executable, "-c", build], source)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "-w", str(folder), str(unpacked)], check=True)
    (wheel,) = folder.glob("*.whl")
    return archive, wheel


@pytest.mark.slow
def test_wheel_carries_all_that_a_run_needs(built):
    archive, wheel = built
    version = library.__version__
    assert archive.name == f"saliency_sanity-{version}.tar.gz"
    assert wheel.name == f"saliency_sanity-{version}-py3-none-any.whl"
    with ZipFile(wheel) as opened:
        names = opened.namelist()
        info = f"saliency_sanity-{version}.dist-info"
        metadata = Parser().parsestr(opened.read(f"{info}/METADATA").decode())
        scripts = opened.read(f"{info}/entry_points.txt").decode()
    assert metadata["Name"] == NAME and metadata["Version"] == version
    assert set(metadata.get_all("Provides-Extra")) == set(EXTRAS)
    assert f"{info}/licenses/LICENSE" in names
    assert all(f"{script} = sanity." in scripts for script in PROJECT["scripts"])
    tracked = command(["git", "ls-files", "conf", "sanity", "hydra_plugins"], ROOT).stdout.split()
    missing = [
        name
        for name in tracked
        if (ROOT / name).is_file() and re.sub(r"^conf/", "sanity/conf/", name) not in names
    ]
    assert missing == []


@pytest.mark.slow
def test_wheel_runs_in_an_empty_folder(built, tmp_path):
    target, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target)]
    subprocess.run([*pip, str(built[1])], check=True)
    arguments = ["data.limit=1", "method=[gradient]", "metric=[spearman]", "layers.last=1"]
    command = [str(target / "bin" / "sanity"), *arguments]
    kept = ("SANITY_CACHE", "CUDA_VISIBLE_DEVICES", *THREADS)
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment["PYTHONPATH"] = str(target)
    done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (run,) = (empty / "outputs" / "default").glob("*/run.json")
    code = "import sanity; print(sanity.__file__, sanity.__version__)"
    where = subprocess.run(
        [sys.executable, "-c", code],
        cwd=empty,
        env={"PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.split() == [str(target / "sanity" / "__init__.py"), library.__version__]
    assert f'"sanity": "{library.__version__}"' in run.read_text()


def test_the_citation_is_of_this_version():
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == library.__version__
