"""Runs a run's job again: `sanity-rerun RUN_FOLDER [KEY=VALUE…]`."""

from collections.abc import Sequence
from pathlib import Path

from sanity.arguments import Parser, mistakes_told
from sanity.errors import ConfigError
from sanity.progress import print_log

_ABOUT = """Runs exactly the job that a run's folder records, perhaps with some values changed.

    sanity-rerun outputs/default/RUN_ID output=again
    sanity-rerun outputs/default/RUN_ID seed=1 'method=[gradient,smoothgrad]'

Results go to OUTPUT/NAME/RUN_ID as for sanity; where the run itself lies, it is there already
(force=true computes it again). Paths are read from the current folder.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the job; a user's mistake is one sentence and exit code 2."""
    print_log()
    with mistakes_told("sanity-rerun"):
        parser = Parser("sanity-rerun", _ABOUT)
        parser.add_argument("run", nargs="?", metavar="RUN_FOLDER", help="a run's folder")
        parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for sanity")
        parser.add_argument(
            "--trust",
            action="store_true",
            help="run code that is not sanity's, which the record names",
        )
        options = parser.read(arguments)
        if options.run is None or "=" in options.run:
            raise ConfigError("RUN_FOLDER must be given: the folder of a run, then KEY=VALUE")
        from sanity.config.stored import stored_job
        from sanity.experiment.run import execute

        folder = Path(options.run).expanduser()
        execute(*stored_job(folder, options.overrides, trust=options.trust))


if __name__ == "__main__":
    main()
