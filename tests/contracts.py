"""What is checked of every implementation of a contract: this package's and one's own."""

import re

from sanity.config.options import conf_folder


def options(group):
    """The options of a configuration group."""
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml"))


def check_repr(value):
    """It names its class, the same for equal ones: no address in memory stands in it."""
    text = repr(value)
    assert "\n" not in text
    assert not re.search(r"\bat 0x[0-9a-f]+", text)
