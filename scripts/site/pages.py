"""What MkDocs is told of besides docs/: the options of conf/, and pages that lie beside docs/."""

import posixpath
import re
from pathlib import Path

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
BESIDE = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "README.md": "index.md",
}
GROUPS = {
    "model": "The network that is explained.",
    "data": "The images.",
    "layers": "Which of the model's blocks are randomized.",
    "randomization": "How the network is destroyed. [How much it matters](../randomizations.md).",
    "method": "The saliency methods, a list. [What each computes](../methods.md).",
    "metric": "The similarity of two masks, a list. [What each computes](../methods.md).",
    "experiment": "Presets: each chooses all of the above.",
    "hydra/launcher": "How the jobs of a sweep run. [Sweeps](../tutorials/sweeps.md).",
}
LINK = re.compile(r"(\[[^\]\[]*\])\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")
FILE = re.compile(r"^(```\w+) file=(\S+)$", re.MULTILINE)  # tests write such blocks to files
CODE = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)
KEY = re.compile(r"^(\s*)([\w-]+):(.*?)(?:\s+#\s?(.*))?$")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made here."""
    for source, target in BESIDE.items():
        text = (ROOT / source).read_text("utf-8")
        files.append(File.generated(config, target, content=text))
    files.append(File.generated(config, "reference/options.md", content=options()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Points links that leave docs/ to where those pages are in the site; others become text.

    A block of code that is a file has the file's name as its title.
    """
    made = {target: source for source, target in BESIDE.items()}
    here = page.file.src_uri
    place = made.get(here) or f"docs/{here}"

    def follow(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(place), link.group(2)))
        target = BESIDE.get(path) or path.removeprefix("docs/")
        if path.startswith("docs/") or path in BESIDE:
            there = posixpath.relpath(target, posixpath.dirname(here) or ".")
            return f"{link.group(1)}({there}{link.group(3) or ''})"
        return link.group(1)[1:-1]

    parts = CODE.split(markdown)  # what is code stands at the odd places
    parts[::2] = [LINK.sub(follow, part) for part in parts[::2]]
    return FILE.sub(r'\1 title="\2"', "".join(parts))


def options() -> str:
    """Every group, option and key as the YAMLs have them, with their comments."""
    parts = [
        "# Options and keys\n",
        "Made from the files of `conf/`. A key is given on the command line by its path: "
        "`method.smoothgrad.samples=50`.\n",
        "## The job\n",
        _table(ROOT / "conf/config.yaml", "", skip=("defaults", "hydra")),
    ]
    for group, what in GROUPS.items():
        parts.append(f"## {group}\n\n{what}\n")
        prefix = "" if group == "experiment" else f"{group.replace('/', '.')}."
        for path in sorted((ROOT / "conf" / group).glob("*.yaml")):
            table = _table(path, prefix, skip=("defaults",))
            parts += [f"### `{group}={path.stem}`\n", _about(path), table]
    return "\n".join(parts)


def _about(path: Path) -> str:
    """What the comment at a file's head says."""
    head = []
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            head.append(line.lstrip("# "))
    return " ".join(head) + "\n"


def _table(path: Path, prefix: str, skip: tuple[str, ...]) -> str:
    """A file's keys, their values and comments, as a table; lists and mappings by their paths."""
    text = path.read_text("utf-8")
    values = yaml.safe_load(text) or {}
    rows: list[str] = []
    trail: list[str] = []
    for line in text.splitlines():
        found = KEY.match(line)
        if not found or line.lstrip().startswith(("#", "- ")):
            continue
        indent, key, _, comment = found.groups()
        depth = len(indent) // 2
        trail = [*trail[:depth], key]
        if trail[0] in skip or len(trail) != depth + 1:
            continue
        value = _at(values, trail)
        if not isinstance(value, dict) or not value:
            shown = yaml.safe_dump(value, default_flow_style=True, width=1000, allow_unicode=True)
            shown = shown.split("\n...")[0].strip()
            rows.append(
                f"| `{prefix}{'.'.join(trail)}` | `{_cell(shown)}` | {_cell(comment or '')} |"
            )
    if not rows:
        return ""
    return "\n".join(["| key | default | |", "|---|---|---|", *rows, ""])


def _at(values: object, trail: list[str]) -> object:
    for key in trail:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
