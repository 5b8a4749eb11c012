"""Command lines: their words are read, and a mistake is one sentence."""

import argparse
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

from sanity.errors import ConfigError, did_you_mean, fault_outside

_WORDS = (  # argparse's complaints in ours
    (re.compile(r"argument (\S+): expected (?:one argument|at least one argument)"), "{} needs {}"),
    (re.compile(r"argument (\S+): expected (\d+) arguments"), "{} needs {}"),
    (re.compile(r"argument (\S+): invalid int value: '(.*)'"), "{}={} must be a whole number"),
    (re.compile(r"argument (\S+): invalid float value: '(.*)'"), "{}={} must be a number"),
    (
        re.compile(r"argument (\S+): invalid choice: '?(.*?)'? \(choose from (.*)\)"),
        "{}={} must be one of {}",
    ),
)


class Parser(argparse.ArgumentParser):
    """argparse's parser, whose complaints are a ConfigError; options must be written out."""

    def __init__(self, program: str, description: str):
        super().__init__(
            program,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def read(self, arguments: Sequence[str] | None = None) -> argparse.Namespace:
        """What a command line says; that of the process by default.

        Raises:
            ConfigError: There is no such option, or its value will not do.
        """
        options, unknown = self.parse_known_intermixed_args(arguments)
        if unknown:
            known = [name for action in self._actions for name in action.option_strings]
            word = unknown[0].partition("=")[0]
            raise ConfigError(
                f"{word} is no option{did_you_mean(word, known)} ({self.prog} --help shows them)"
            )
        return options

    def error(self, message: str) -> NoReturn:
        """Raises the complaint, in our words where they are known."""
        for pattern, said in _WORDS:
            if match := pattern.fullmatch(message):
                option, *rest = match.groups()
                if said == "{} needs {}":
                    rest = [f"{rest[0]} values" if rest else "a value"]
                raise ConfigError(said.format(option, *rest))
        raise ConfigError(f"{message} ({self.prog} --help)")


def in_list(text: str) -> list[str]:
    """The items of a list with commas between, in brackets or without: `[ssim,hog]`."""
    return [item.strip() for item in text.strip().removeprefix("[").removesuffix("]").split(",")]


@contextmanager
def mistakes_told(program: str) -> Iterator[None]:
    """A user's mistake ends the process with one sentence and exit code 2."""
    with quiet_when_unread():
        try:
            yield
        except (ConfigError, OSError) as error:
            said = str(error) if isinstance(error, ConfigError) else fault_outside(error)
            if said is None:
                raise
            print(f"{program}: {said}", file=sys.stderr)
            sys.exit(2)


@contextmanager
def quiet_when_unread() -> Iterator[None]:
    """Ends without a traceback where nobody reads standard output any more, as after `| head`.

    A character that the terminal's encoding has not is printed as `?`.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:  # it was closed before, `>&-`
                sys.stdout.flush()
    except BrokenPipeError as error:
        # Python flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error.__context__, SystemExit):
            raise error.__context__ from None
