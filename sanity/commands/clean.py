"""Says what results take on the disk, and removes some of it: `sanity-clean PATH`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sanity.arguments import Parser, mistakes_told
from sanity.errors import ConfigError

if TYPE_CHECKING:
    from sanity.results.cleaning import Part

_ABOUT = """Says what results below PATH take on the disk, and removes what is asked for.

    sanity-clean outputs
    sanity-clean outputs --remove interrupted,originals

Nothing is removed without --remove; then only what sanity can tell to be its own, and no run that
is at work. Links are not followed, and files of your own in a run's folder stay.
"""
_SHOWN = 5  # runs that are named


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints what there is; a user's mistake is one sentence and exit code 2."""
    with mistakes_told("sanity-clean"):
        from sanity.results.cleaning import KINDS, clean, find_parts

        parser = Parser("sanity-clean", _ABOUT)
        parser.add_argument("path", nargs="?", metavar="PATH", help="a folder of results")
        kinds = ",".join(KINDS)
        parser.add_argument("--remove", metavar="KIND,…", help=f"any of {kinds}")
        options = parser.read(arguments)
        if options.path is None:
            raise ConfigError("PATH must be given: a folder of results, such as outputs")
        wanted = [name for name in (options.remove or "").split(",") if name]
        if unknown := [name for name in wanted if name not in KINDS]:
            raise ConfigError(f"--remove {unknown[0]} is none of {', '.join(KINDS)}")
        parts = find_parts(options.path)
        if not wanted:
            print(_listed(parts))
            return
        done, left = clean(parts, wanted)
        print(f"removed {_sized(sum(part.size for part in done))}")
        print("\n".join([*map(_line, _by_kind(done)), *left]))


def _listed(parts: "Sequence[Part]") -> str:
    """What there is, by kind, with the largest of each that can be removed."""
    from sanity.results.cleaning import KINDS

    lines = []
    for kind, mine in _by_kind(parts):
        lines.append(_line((kind, mine)))
        if kind in ("interrupted", "failed", "old"):
            largest = sorted(mine, key=lambda part: -part.size)
            lines += [f"  {_sized(part.size):>9}  {part.folder}" for part in largest[:_SHOWN]]
            if more := len(mine) - _SHOWN:
                lines += [f"             and {more} more"] * (more > 0)
    there = [kind for kind, _ in _by_kind(parts) if kind in KINDS]
    lines += ["", "--remove KIND,… removes:"]
    lines += [f"  {kind:<12} {KINDS[kind]}" for kind in there]
    return "\n".join(lines)


def _by_kind(parts: "Sequence[Part]") -> "list[tuple[str, list[Part]]]":
    from sanity.results.cleaning import KINDS

    found = [
        (kind, [part for part in parts if part.kind == kind]) for kind in ("completed", *KINDS)
    ]
    return [(kind, mine) for kind, mine in found if mine]


def _line(of_kind: "tuple[str, Sequence[Part]]") -> str:
    kind, parts = of_kind
    count = sum(part.count for part in parts)
    what = {"originals": "mask", "cache": "file"}.get(kind, "run")
    where = f"  {parts[0].folder}" if kind == "cache" else ""
    plural = "" if count == 1 else "s"
    size = _sized(sum(part.size for part in parts))
    return f"{kind:<12} {count:>6} {what + plural:<6} {size:>9}{where}"


def _sized(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if size < 999.5 else f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:,.3g} GB" if size < 1000 else f"{size:,.0f} GB"


if __name__ == "__main__":
    main()
