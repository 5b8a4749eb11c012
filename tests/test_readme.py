"""Every command of README and tutorials is run, in order, in one folder, as a reader would."""

import re
import shlex

import pytest

from tests.command import ROOT, sanity_here

BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)
TUTORIALS = ("first_run", "own_model", "sweeps", "figure", "own_method")
READ = ["README.md", *(f"docs/tutorials/{name}.md" for name in TUTORIALS)]
TEXT = "\n".join((ROOT / page).read_text() for page in READ)
BLOCKS = BLOCK.findall(TEXT)
PAGES = [
    path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
]
# What is drawn and written, the shorter commands show: two of them, beside the default job.
PLAIN = ["figures=none", "report=false"]


def read(line):
    """A command's module, its arguments, and the variables that are set for it."""
    words, variables = shlex.split(line), {}
    while "=" in words[0]:
        name, value = words.pop(0).split("=", 1)
        variables[name] = value
    if words[0] in ("./scripts/run", "sanity"):
        return "sanity", words[1:], variables
    assert words[:2] == ["python", "-m"], line
    return words[2], words[3:], variables


@pytest.mark.slow
def test_every_command_of_the_readme(default_run, monkeypatch):
    """All in this process, but for the default job."""
    folder = default_run.cwd
    ran, code = 0, ""
    for language, file, text in BLOCKS:
        if file:
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif language == "sh":
            for line in text.strip().splitlines():
                module, words, variables = read(line)
                path = [
                    folder / name for name in variables.pop("PYTHONPATH", "").split(":") if name
                ]
                assert not variables
                words += PLAIN if module == "sanity" and len(words) > 3 else []
                sanity_here(*words, module=module, cwd=folder, path=path)
                ran += 1
        elif language == "python":
            code += text  # later blocks go on from earlier ones
            ran += 1
    monkeypatch.chdir(folder)
    exec(compile(code, "README", "exec"), {"__name__": "__main__"})
    assert ran >= 10
    grid = list(folder.glob("outputs/**/figures/*_signed.png"))
    assert len(grid) >= 5


@pytest.mark.slow
def test_the_table_of_the_first_run_is_what_comes_out(default_run):
    (table,) = re.findall(r"^```\n(method .*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    for line in table.strip().splitlines():
        assert line in default_run.stdout


@pytest.mark.parametrize("page", PAGES)
def test_the_files_that_a_page_names_are_there(page):
    text = (ROOT / page).read_text()
    code = re.findall(r"`((?:sanity|conf|docs|tests|scripts)/[\w/.]+)`", text)
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    code = [name for name in code if name == name.lower()]  # not methods/NAME.yaml
    missing = [name for name in code if not (ROOT / name).exists()]
    missing += [link for link in links if not ((ROOT / page).parent / link).exists()]
    assert not missing
