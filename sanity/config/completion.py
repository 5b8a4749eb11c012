"""Tab completion: what a command line may go on with."""

import re
from collections.abc import Sequence

from sanity.config.options import own_hydra
from sanity.errors import ConfigError

_PROGRAM = re.compile(r"^\s*(?:\w+=\S*\s+)*(?:\S*python[\d.]*\s+-m\s+sanity\S*|\S+)\s*")
_LIST = re.compile(r"(\+{0,2}[\w/]+)=\[(.*)")
COMMANDS = ("sanity", "sanity-inspect", "python", "python3")  # the latter with -m sanity

# Bash's, and zsh's after `autoload -U bashcompinit && bashcompinit`. What is offered are whole
# words, so = must not part them.
SCRIPT = f"""_sanity_complete() {{
    local line="${{COMP_LINE:0:$COMP_POINT}}"
    local words=($line)
    local helper="${{words[0]}}"
    case "${{words[0]##*/}}" in
        python*)
            case "${{words[2]}}" in sanity*) ;; *) return ;; esac
            helper="${{words[0]}} -m sanity" ;;
        sanity-inspect) helper="${{words[0]%-inspect}}" ;;
    esac
    COMPREPLY=($(COMP_LINE="$line" $helper -sc query=bash 2>/dev/null))
}}
COMP_WORDBREAKS=${{COMP_WORDBREAKS//=}}
complete -o nospace -o default -F _sanity_complete {" ".join(COMMANDS)}
"""
REMOVAL = f"complete -r {' '.join(COMMANDS)}\n"


def complete(line: str) -> list[str]:
    """The words that the last one of a command line may become.

    Args:
        line: From its start to the cursor, program and all; the last word may be quoted and may be
            within a list in brackets.
    """
    rest = line[len(match[0]) :] if (match := _PROGRAM.match(line)) else ""
    words = rest.split()
    last = "" if not rest or rest[-1].isspace() else words.pop()
    mark = last[:1] if last[:1] in ("'", '"') else ""
    config_dir, others = _without_config_dir(words)
    try:
        with own_hydra(config_dir):
            found = _continuations(last.removeprefix(mark), others)
    except ConfigError:
        return []
    return sorted(f"{mark}{word}" for word in found)


def _without_config_dir(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The folder that a command line names, and its other words, unquoted."""
    found, others = None, []
    left = iter(words)
    for word in left:
        if word in ("-cd", "--config-dir"):
            found = next(left, None)
        elif word.startswith("--config-dir="):
            found = word.partition("=")[2]
        else:
            others.append(word.strip("'\""))
    return found, others


def _continuations(last: str, words: Sequence[str]) -> list[str]:
    from sanity.config.hydra_api import completions, config_loader, group_options

    loader = config_loader()
    if within := _LIST.fullmatch(last):
        key, text = within.groups()
        *before, begun = text.split(",")
        options = group_options(loader, key.lstrip("+"))
        head = f"{key}=[" + "".join(f"{name}," for name in before)
        return [f"{head}{o}" for o in options if o.startswith(begun) and o not in before]
    line = " ".join([*words, last])
    return completions(loader, line)
