"""Executes the notebooks of docs/notebooks and keeps what comes out in them.

`python scripts/notebooks.py [NAME…]`: each in an empty folder, in a new kernel of this Python. What
is random is keyed by seeds, so figures and tables come out the same.
"""

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
_SECONDS = 600  # for a cell, at the most


def names() -> list[str]:
    """The notebooks that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.ipynb"))


def execute(name: str, folder: Path) -> Any:
    """A notebook with what comes out of it.

    Args:
        name: Of the notebook.
        folder: Where it runs, and leaves its files.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell fails.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook: Any = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    place = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook, timeout=_SECONDS, kernel_name="python3", resources=place, record_timing=False
    )
    # Bars would leave each of their states.
    client.execute(env={**os.environ, "TQDM_DISABLE": "1", "TF_CPP_MIN_LOG_LEVEL": "3"})
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _of_tensorflow(output)]
            for output in cell.outputs:
                if "text" in output:
                    output.text = _of_any_machine(output.text, folder)
    return notebook


def _of_any_machine(text: str, folder: Path) -> str:
    """A text without this machine's paths."""
    for path, name in ((sys.executable, "python"), (str(folder), "."), (str(Path.home()), "~")):
        text = text.replace(path, name)
    return text


def _of_tensorflow(output: Any) -> bool:
    """Whether an output is what TensorFlow says of the machine before it is told to be quiet."""
    if output.get("name") != "stderr":
        return False
    lines = output.text.splitlines()
    return all(re.match(r"$|[IW]0000 |WARNING: All log messages before absl", x) for x in lines)


def main() -> None:
    """Writes the notebooks anew."""
    import nbformat

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(names())}; all by default")
    for name in parser.parse_args().names or names():
        with tempfile.TemporaryDirectory() as folder:
            notebook = execute(name, Path(folder))
        nbformat.write(notebook, FOLDER / f"{name}.ipynb")  # type: ignore[no-untyped-call]
        print(f"{name}: {sum(cell.cell_type == 'code' for cell in notebook.cells)} cells")


if __name__ == "__main__":
    main()
