"""docs/methods.md defines every method and metric, with the defaults that the YAMLs have."""

import re

import pytest
import yaml

from tests.command import ROOT

TEXT = (ROOT / "docs/methods.md").read_text()
NAME = re.compile(r"\*\*`([\w-]+)`\*\*")
# A list's item, or what is bold in it and follows: up to the next name, item or heading.
PARAGRAPH = re.compile(r"^- (\*\*`.*?)(?=^- |^#|\n\n)", re.MULTILINE | re.DOTALL)
DEFAULT = re.compile(r"`(\w+)=([^`]+)`")
PREPARATION = ("channels", "scale", "clip")


def nodes(group):
    """What the options of a group set, by name."""
    return {
        path.stem: yaml.safe_load(path.read_text())[path.stem]
        for path in sorted((ROOT / "conf" / group).glob("*.yaml"))
    }


METHODS, METRICS = nodes("method"), nodes("metric")
NODES = METHODS | METRICS


def paragraphs():
    """Paragraphs by the names that they define."""
    found = {}
    for paragraph in PARAGRAPH.findall(TEXT):
        places = [*NAME.finditer(paragraph)]
        shared = []
        for this, following in zip(places, [*places[1:], None], strict=True):
            shared.append(this.group(1))
            end = following.start() if following else len(paragraph)
            body = paragraph[this.end() : end]
            if body.strip(" ,\n"):
                found |= dict.fromkeys(shared, body)
                shared = []
    return found


PARAGRAPHS = paragraphs()


def rows(first):
    """The cells of the table whose header begins with this, but for its two lines of header."""
    table = TEXT[TEXT.index(f"| {first} |") :].split("\n\n")[0]
    return [[c.strip() for c in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_each_option_is_defined_once():
    assert sorted(NAME.findall(TEXT)) == sorted(NODES)
    assert sorted(PARAGRAPHS) == sorted(NODES)


@pytest.mark.parametrize("name", NODES)
def test_defaults_are_the_options(name):
    for key, value in DEFAULT.findall(PARAGRAPHS[name]):
        if key in NODES[name]:
            assert yaml.safe_load(value) == NODES[name][key], f"{name}: {key}={value}"


@pytest.mark.parametrize("name", NODES)
def test_each_parameter_is_explained(name):
    for key in NODES[name]:
        if key not in ("_target_", "method"):
            assert re.search(rf"`{key}[`=:]", TEXT), f"{name}: {key}"


def test_the_table_of_preparations_is_the_options():
    found = {}
    for names, *cells in rows("metric | `channels`"):
        values = [yaml.safe_load(cell) for cell in cells]
        # "none" is a scale, null no clip
        found |= dict.fromkeys(re.findall(r"`(\w+)`", names), values)
    prepared = {name: node for name, node in METRICS.items() if "scale" in node}
    assert found == {name: [node[key] for key in PREPARATION] for name, node in prepared.items()}
    rest = {(node["sign"], node["pool"], node["percentile"]) for node in prepared.values()}
    assert rest == {("signed", 1, 99)}


def test_unrelated_masks_are_scored_by_each_metric():
    names = {names.strip("`") for names, *_ in rows("metric | pixels")}
    assert names == set(METRICS) - {"region_share"}
