"""What a user is told when something cannot be done."""

import difflib
import errno
from collections.abc import Iterable, Sequence


class ConfigError(Exception):
    """Something the user asked for cannot be done.

    Its text is one sentence that names the key, the value and what is allowed. The command line
    prints it and exits with code 2; a library user catches it.
    """


# What an operating system refuses that is for the user to mend: rights, room, names, open files.
_OUTSIDE = tuple(
    getattr(errno, name)
    for name in "EACCES EPERM EROFS ENOSPC EDQUOT ENAMETOOLONG EMFILE ENFILE EIO ESTALE".split()
    if hasattr(errno, name)
)


def fault_outside(error: BaseException) -> str | None:
    """What to say where the operating system refuses something; None of all other errors."""
    if not isinstance(error, OSError) or error.errno not in _OUTSIDE:
        return None
    where = f"{shown(error.filename)}: " if error.filename else ""
    return f"{where}{error.strerror}"


def shown(value: object, most: int = 200) -> str:
    """A value as it stands on a command line, in one line that is not too long."""
    plain = value is None or isinstance(value, bool)
    text = ("null" if value is None else str(value).lower()) if plain else str(value)
    text = text.replace("\r", "\\r").replace("\n", "\\n").replace("\0", "\\0")
    return text if len(text) <= most else f"{text[:most]}…"


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


def name_some(words: Sequence[str], most: int = 20) -> str:
    """`a, b, c` or, of many, the first ones and how many more there are."""
    more = f" … and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(map(str, words[:most])) + more
