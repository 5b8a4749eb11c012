"""The documentation as a site: built strictly, links inside it followed, messages as they are."""

import ast
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from tests.command import ROOT
from tests.test_scripts import load

PAGES = sorted((ROOT / "docs").rglob("*.md"))
HOOKS = load("site/pages")
QUOTED = re.compile(r"^\*\*`([^`]+)`\*\*", re.MULTILINE)


def said():
    """Every text in the code, what is filled in as …."""
    for path in (ROOT / "sanity").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [v.value if isinstance(v, ast.Constant) else "…" for v in node.values]
                yield "".join(parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


@pytest.fixture(scope="module")
def texts():
    return "\n".join(said())


@pytest.mark.parametrize("message", QUOTED.findall((ROOT / "docs/faq.md").read_text()))
def test_explained_messages_are_the_codes(message, texts):
    pieces = message.split("…")
    assert [piece for piece in pieces if piece.strip() and piece.strip() not in texts] == []


class _Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.names, self.elsewhere = [], set(), []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.names |= {found[key] for key in ("id", "name") if found.get(key)}
        for key in ("href", "src"):
            if found.get(key) and urlsplit(found[key]).scheme in ("http", "https"):
                # what a browser fetches by itself, other than what a reader follows
                self.elsewhere += [found[key]] if tag in ("script", "img", "link") else []
            elif found.get(key) and not urlsplit(found[key]).scheme:
                self.links.append(found[key])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"PATH": "", "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {}
    for path in sorted(folder.rglob("*.html")):
        pages[path] = _Links()
        pages[path].feed(path.read_text())
    return pages


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_code_stands_in_the_site_as_it_was_written(path):
    text = path.read_text()
    page = SimpleNamespace(file=SimpleNamespace(src_uri=path.relative_to(ROOT / "docs").as_posix()))
    made = HOOKS.on_page_markdown(text, page, None, None)
    block = re.compile(r"^```(\w*)(?: (?:file=|title=\")([^\s\"]+)\"?)?\n(.*?)^```", re.M | re.S)
    assert block.findall(made) == block.findall(text)
    assert "```python file=" not in made and made.count("```") == text.count("```")


def test_links_that_leave_the_site_become_text():
    page = SimpleNamespace(file=SimpleNamespace(src_uri="tutorials/some.md"))
    text = "See [x](../methods.md#a), [a list][1]\nor [y](../../scripts/run): [1, 2]\n"
    made = HOOKS.on_page_markdown(text, page, None, None)
    assert made == "See [x](../methods.md#a), [a list][1]\nor y: [1, 2]\n"


@pytest.mark.slow
def test_links_inside_the_site_lead_somewhere(site):
    broken = []
    for path, page in site.items():
        if path.name == "404.html":
            continue
        for link in page.links:
            parts = urlsplit(link)
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = there / "index.html" if there.is_dir() else there
            if not there.is_file():
                broken.append((path.name, link))
            elif parts.fragment and there in site and parts.fragment not in site[there].names:
                broken.append((path.name, link))
    assert len(site) > 15 and broken == []


@pytest.mark.slow
def test_the_site_asks_for_nothing_over_the_network(site):
    assert {path.name: page.elsewhere for path, page in site.items() if page.elsewhere} == {}


@pytest.mark.slow
def test_every_option_and_key_has_its_row(site):
    (page,) = [path for path in site if path.match("reference/options.html")]
    text = page.read_text()
    for path in sorted((ROOT / "conf").glob("*/*.yaml")):
        group = path.parent.name
        if group in ("hydra", "experiment"):
            continue
        assert f"{group}={path.stem}" in text
        for key in yaml.safe_load(path.read_text()) or {}:
            assert f"{group}.{key}" in text or group == "layers", (path, key)


def test_pages_are_in_the_navigation():
    config = re.sub(r"!!python\S*", "", (ROOT / "mkdocs.yml").read_text())
    named = set(re.findall(r"[\w/]+\.md", config))
    pages = {
        path.relative_to(ROOT / "docs").as_posix() for path in Path(ROOT / "docs").rglob("*.md")
    }
    assert pages <= named
