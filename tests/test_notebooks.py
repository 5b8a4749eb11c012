"""The notebooks of docs/: executed, as a reader would, and kept with what comes out."""

import importlib.util
import json
import re

import pytest

from tests.command import ROOT

FOLDER = ROOT / "docs" / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
_AWAY = re.compile(r"/(?:home|root|tmp|work)/|site-packages|Traceback|Warning")


def outputs(notebook, kind=None):
    """All outputs of a notebook, or the texts of one stream."""
    found = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    if kind is None:
        return found
    return "".join("".join(o["text"]) for o in found if o.get("name") == kind)


def test_there_are_three():
    assert NAMES == ["figure_from_a_sweep", "first_run", "own_keras_model"]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_kept_with_what_came_out(name):
    file = FOLDER / f"{name}.ipynb"
    notebook = json.loads(file.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {key for output in outputs(notebook) for key in output.get("data", {})}
    assert "text/html" in kinds
    texts = [outputs(notebook, "stdout"), outputs(notebook, "stderr")]
    texts += [str(o["data"].get("text/html")) for o in outputs(notebook) if "data" in o]
    assert not _AWAY.search(re.sub(r"base64,[\w+/=]+", "", "\n".join(texts)))
    assert file.stat().st_size < 500_000


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_it_runs(name, tmp_path):
    """A failing cell would raise; the log is printed once, and nobody else's."""
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "scripts" / "notebooks.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    notebook = script.execute(name, tmp_path)
    printed = outputs(notebook, "stdout")
    lines = re.findall(r"^stage +0\S* +trained", printed, re.MULTILINE)
    assert len(lines) == {"figure_from_a_sweep": 3}.get(name, 1), printed
    assert not re.search(
        r"DEBUG|absl|Adding visible|IProgress", printed + outputs(notebook, "stderr")
    )
    assert any(
        "<table>" in o["data"].get("text/html", "") for o in outputs(notebook) if "data" in o
    )
