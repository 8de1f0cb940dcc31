"""Scripts that complete commands, options and choices in a shell; they hold every word, so that no Python starts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from rewho.settings.fields import Command, Names, find_metadata, is_list, options_of, plain_type
from rewho.settings.names import GLOBAL_OPTIONS, find_options, shorten


@dataclass(frozen=True)
class Word:
    """A word that can be completed.

    Args:
        name: An option without its hyphens.
        choices: Its values, if they are few and known.
        takes: Whether a value follows.
    """

    name: str
    choices: tuple[str, ...] = ()
    takes: bool = True


def _choices(kind: Any) -> tuple[str, ...]:  # noqa: ANN401 - a type annotation
    plain = plain_type(kind)
    if is_list(kind):
        plain = plain_type(get_args(plain)[0])
    if get_origin(plain) is Literal:
        return tuple(map(str, get_args(plain)))
    return tuple(find_metadata(kind, Names) or ())


def list_words(settings: type[Any], recipes: tuple[str, ...] = ()) -> Iterator[Word]:
    """Yield the options of a command: by the shortest name of each, then by their full names.

    Args:
        settings: The command's settings class.
        recipes: Names of recipes, the choices of --recipe.
    """
    command: Command = settings.command
    known = dict(options_of(settings))
    short = {name: find_options(options.split()[0], known, command)[0] for name, options in command.short.items()}
    short |= {shorten(option, known, command): option for option in known}
    for name, option in {**short, **{option: option for option in known}}.items():
        kind = known[option]
        yield Word(name, _choices(kind), plain_type(kind) is not bool)
    for name in GLOBAL_OPTIONS:
        if name not in known:
            yield Word(name.replace("_", "-"), recipes if name == "recipe" else (), name == "recipe")


def _actions(settings: type[Any]) -> tuple[str, ...]:
    """Return the choices of a command's first word, such as the actions of `crops`."""
    first = settings.command.positional.partition(" ")[0]
    return _choices(dict(options_of(settings))[first]) if first else ()


def write_script(shell: str, commands: Mapping[str, type[Any]], recipes: tuple[str, ...]) -> str:
    """Return the completion script of a shell: bash, zsh or fish."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](commands, recipes)


def _cases(commands: Mapping[str, type[Any]], recipes: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Return shell cases: the options by command, and the choices by command and option."""
    options, choices = list[str](), list[str]()
    for name, settings in commands.items():
        words = list(list_words(settings, recipes))
        short = [word.name for word in words if "." not in word.name]
        full = [word.name for word in words if "." in word.name]
        options.append(f"{name}) short='{' '.join(f'--{one}' for one in short)}'")
        options.append(f"  full='{' '.join(f'--{one}' for one in full)}' ;;")
        choices.extend(
            f"'{name} --{word.name}') choices='{' '.join(word.choices)}' ;;" for word in words if word.choices
        )
        if actions := _actions(settings):
            choices.append(f"'{name} {name}') choices='{' '.join(actions)}' ;;")
    return options, choices


def _bash(commands: Mapping[str, type[Any]], recipes: tuple[str, ...]) -> str:
    options, choices = _cases(commands, recipes)
    lines = [
        "# Completion of rewho for bash: source it, or put it where bash-completion looks.",
        "_rewho() {",
        '  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" command="${COMP_WORDS[1]}"',
        "  local short='' full='' choices=''",
        "  COMPREPLY=()",
        '  if [ "$COMP_CWORD" -eq 1 ]; then',
        f"    COMPREPLY=($(compgen -W '{' '.join(commands)}' -- \"$word\")); return",
        "  fi",
        '  case "$command" in',
        *(f"    {line}" for line in options),
        "  esac",
        '  case "$command $before" in',
        *(f"    {line}" for line in choices),
        "  esac",
        '  case "$word" in',
        '    -*.*) COMPREPLY=($(compgen -W "$full" -- "$word")) ;;',
        '    -*) COMPREPLY=($(compgen -W "$short" -- "$word"))',
        '      [ "${#COMPREPLY[@]}" -gt 0 ] || COMPREPLY=($(compgen -W "$full" -- "$word")) ;;',
        '    *) COMPREPLY=($(compgen -W "$choices" -- "$word")) ;;',
        "  esac",
        "}",
        "complete -o default -F _rewho rewho",
    ]
    return "\n".join(lines)


def _zsh(commands: Mapping[str, type[Any]], recipes: tuple[str, ...]) -> str:
    options, choices = _cases(commands, recipes)
    described = (f"    {_quote(f'{name}:{_plain(kind.command.help)}')}" for name, kind in commands.items())
    lines = [
        "#compdef rewho",
        "_rewho() {",
        "  local short='' full='' choices=''",
        "  local -a commands",
        "  commands=(",
        *described,
        "  )",
        "  if (( CURRENT == 2 )); then _describe command commands; return; fi",
        '  case "$words[2]" in',
        *(f"    {line}" for line in options),
        "  esac",
        '  case "$words[2] $words[CURRENT-1]" in',
        *(f"    {line}" for line in choices),
        "  esac",
        '  case "$words[CURRENT]" in',
        "    -*.*) compadd -- ${=full} ;;",
        "    -*) compadd -- ${=short} ;;",
        "    *) if [[ -n $choices ]]; then compadd -- ${=choices}; fi; _files ;;",
        "  esac",
        "}",
        'if [[ "$funcstack[1]" == "_rewho" ]]; then _rewho "$@"; else compdef _rewho rewho; fi',
    ]
    return "\n".join(lines)


def _fish(commands: Mapping[str, type[Any]], recipes: tuple[str, ...]) -> str:
    lines = ["# Completion of rewho for fish: save it as rewho.fish in fish's folder of completions."]
    for name, settings in commands.items():
        about = _quote(_plain(settings.command.help))
        lines.append(f"complete -c rewho -n __fish_use_subcommand -f -a {name} -d {about}")
        within = f"-n '__fish_seen_subcommand_from {name}'"
        if actions := _actions(settings):
            lines.append(f"complete -c rewho {within} -a '{' '.join(actions)}'")
        for word in list_words(settings, recipes):
            values = f" -r -a '{' '.join(word.choices)}'" if word.choices else " -r" if word.takes else ""
            lines.append(f"complete -c rewho {within} -l {word.name}{values}")
    return "\n".join(lines)


def _plain(text: str) -> str:
    return re.sub(r"[^\w .,;-]", "", text)


def _quote(text: str) -> str:
    return "'" + text.replace("'", "") + "'"
