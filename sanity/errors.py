"""What a user is told when something cannot be done."""

import difflib
from collections.abc import Iterable


class ConfigError(Exception):
    """Something the user asked for cannot be done.

    Its text is one sentence that names the key, the value and what is allowed. The command line
    prints it and exits with code 2; a library user catches it.
    """


def how_to_install(extra: str) -> str:
    """The command that brings an extra of this package, by its name on the package index."""
    return f"pip install 'saliency-sanity[{extra}]'"


def near(word: str, known: Iterable[str], most: int = 1) -> list[str]:
    """Those of the known words that a misspelt one may stand for, the likeliest first."""
    return difflib.get_close_matches(word, list(known), most)


def did_you_mean(word: str, known: Iterable[str], prefix: str = "") -> str:
    """The end of a sentence that refuses a word: `"; did you mean prefixWORD?"`, or nothing."""
    found = near(word, known)
    return f"; did you mean {prefix}{found[0]}?" if found else ""
