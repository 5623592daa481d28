"""`completion`: scripts for bash, zsh and fish, generated from the commands' tables."""

from __future__ import annotations

import shlex

from stockade.cli import COMMANDS as NAMES
from stockade.cli import load
from stockade.cli.screen import out
from stockade.cli.table import Args, Command, Option
from stockade.errors import BadValue

# What lists the containers while a word is being completed.
_CONTAINERS = "stockade ps --all --format names 2>/dev/null"
_IMAGES = "stockade images --format names 2>/dev/null"
_VOLUMES = "stockade volume ls -q 2>/dev/null"


def completion(args: Args) -> int:
    """Print the script for one shell."""
    writers = {"bash": bash, "zsh": zsh, "fish": fish}
    shell = args.rest[0]
    if shell not in writers:
        raise BadValue(f"there is no completion for {shell!r}", hint=f"there is: {', '.join(writers)}")
    out(writers[shell]({name: load(name) for name in NAMES}))
    return 0


def bash(commands: dict[str, Command]) -> str:
    """A function for `complete -F`."""
    cases, values = [], []
    for name, command in commands.items():
        names = " ".join(one for option in command.options for one in (option.name, option.short) if one)
        cases.append(f'    "{name}") options="{names}"; kind="{command.completes}" ;;')
        for option in command.options:
            if option.metavar:
                pattern = "|".join(f'"{name} {one}"' for one in (option.name, option.short) if one)
                words = " ".join(option.completes) if isinstance(option.completes, tuple) else ""
                values.append(f'    {pattern}) words="{words}"; kind="{"" if words else option.completes}"; value=1 ;;')
    firsts = " ".join(dict.fromkeys(name.split()[0] for name in commands))
    seconds = "\n".join(
        f'    {first}) if [ "$COMP_CWORD" = 2 ]; then\n'
        f'        COMPREPLY=($(compgen -W "{" ".join(rest)}" -- "$word")); return; fi\n'
        f'      command="{first} ${{COMP_WORDS[2]}}" ;;'
        for first, rest in _groups(commands).items()
    )
    return f"""\
# bash completion of stockade: source <(stockade completion bash)
_stockade() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" command="${{COMP_WORDS[1]}}" options="" kind="" words="" value=""
  if [ "$COMP_CWORD" = 1 ]; then COMPREPLY=($(compgen -W "{firsts}" -- "$word")); return; fi
  case "$command" in
{seconds}
  esac
  case "$command" in
{chr(10).join(cases)}
  esac
  case "$command ${{COMP_WORDS[COMP_CWORD-1]}}" in
{chr(10).join(values)}
  esac
  if [ -z "$value" ] && [[ "$word" == -* ]]; then COMPREPLY=($(compgen -W "$options --help" -- "$word")); return; fi
  case "$kind" in
    container) COMPREPLY=($(compgen -W "$({_CONTAINERS})" -- "$word")) ;;
    image) COMPREPLY=($(compgen -W "$({_IMAGES})" -- "$word")) ;;
    volume) COMPREPLY=($(compgen -W "$({_VOLUMES})" -- "$word")) ;;
    directory) compopt -o filenames; COMPREPLY=($(compgen -d -- "$word")) ;;
    file) compopt -o filenames; COMPREPLY=($(compgen -f -- "$word")) ;;
    *) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;
  esac
}}
complete -F _stockade stockade"""


def zsh(commands: dict[str, Command]) -> str:
    """A function for `compdef`."""
    cases = []
    for name, command in commands.items():
        specs = [_zsh_option(option) for option in command.options]
        specs += ["'--help[show how it is used]'", f"'*::operand:{_zsh_values(command.completes)}'"]
        cases.append(f'    "{name}") _arguments -S {" ".join(specs)} ;;')
    groups = _groups(commands)
    members = "\n".join(
        f"    {first}) (( CURRENT == 3 )) && {{ compadd {' '.join(rest)}; return }}\n"
        f'      command="{first} $words[3]"; (( drop = 2 )) ;;'
        for first, rest in groups.items()
    )
    firsts = " ".join(
        shlex.quote(f"{name}:{command.summary}".replace("[", "(").replace("]", ")"))
        for name, command in commands.items()
        if " " not in name
    )
    only_groups = " ".join(shlex.quote(f"{first}:{', '.join(rest)}") for first, rest in groups.items())
    return f"""\
#compdef stockade
# zsh completion of stockade: source <(stockade completion zsh)
_stockade_containers() {{ compadd -- ${{(f)"$({_CONTAINERS})"}} }}
_stockade_images() {{ compadd -- ${{(f)"$({_IMAGES})"}} }}
_stockade_volumes() {{ compadd -- ${{(f)"$({_VOLUMES})"}} }}
_stockade() {{
  local -a firsts=({firsts} {only_groups})
  (( CURRENT == 2 )) && {{ _describe command firsts; return }}
  local command="$words[2]"; integer drop=1
  case "$command" in
{members}
  esac
  shift $drop words; (( CURRENT -= drop ))
  case "$command" in
{chr(10).join(cases)}
  esac
}}
compdef _stockade stockade"""


def fish(commands: dict[str, Command]) -> str:
    """Lines of `complete`."""
    lines = ["# fish completion of stockade: stockade completion fish | source", "complete -c stockade -f"]
    groups = _groups(commands)
    for name, command in commands.items():
        first, _, second = name.partition(" ")
        about = shlex.quote(command.summary)
        seen = f"__fish_seen_subcommand_from {first}"
        if second:
            rest = " ".join(groups[first])
            lines.append(
                f"complete -c stockade -n '{seen}; and not __fish_seen_subcommand_from {rest}' -a {second} -d {about}"
            )
            seen += f"; and __fish_seen_subcommand_from {second}"
        else:
            lines.append(f"complete -c stockade -n __fish_use_subcommand -a {first} -d {about}")
        lines += [_fish_option(option, seen) for option in command.options]
        if command.completes:
            lines.append(f"complete -c stockade -n '{seen}' {_fish_values(command.completes)}")
    lines += [f"complete -c stockade -n __fish_use_subcommand -a {first}" for first in groups]
    return "\n".join(lines)


def _groups(commands: dict[str, Command]) -> dict[str, list[str]]:
    """First word → second words, of the commands that have two."""
    groups: dict[str, list[str]] = {}
    for name in commands:
        first, _, second = name.partition(" ")
        if second:
            groups.setdefault(first, []).append(second)
    return groups


def _zsh_option(option: Option) -> str:
    text = option.help.replace("[", "(").replace("]", ")").replace(":", " ").replace("'", "")
    value = f":{option.metavar}:{_zsh_values(option.completes)}" if option.metavar else ""
    star = "*" if option.many else ""
    both = [
        f"'{star}{name}{'=' if option.metavar and name.startswith('--') else ''}[{text}]{value}'"
        for name in _names(option)
    ]
    return " ".join(both)


def _zsh_values(completes: str | tuple[str, ...]) -> str:
    if isinstance(completes, tuple):
        return f"({' '.join(completes)})"
    places = {"directory": "_files -/", "file": "_files"}
    own = {one: f"_stockade_{one}s" for one in ("container", "image", "volume")}
    return (own | places).get(completes, " ")


def _fish_option(option: Option, seen: str) -> str:
    short = f" -s {option.short[1:]}" if option.short else ""
    value = " -r " + _fish_values(option.completes) if option.metavar else ""
    return f"complete -c stockade -n '{seen}' -l {option.key}{short} -d {shlex.quote(option.help)}{value}".rstrip()


def _fish_values(completes: str | tuple[str, ...]) -> str:
    if isinstance(completes, tuple):
        return f"-a '{' '.join(completes)}'"
    names = {"container": f"-a '({_CONTAINERS})'", "image": f"-a '({_IMAGES})'", "volume": f"-a '({_VOLUMES})'"}
    wanted = names | {"directory": "-a '(__fish_complete_directories)'", "file": "-F"}
    return wanted.get(completes, "")


def _names(option: Option) -> list[str]:
    return [name for name in (option.name, option.short) if name]


COMMANDS = {
    "completion": Command(
        name="completion",
        summary="print a completion script for bash, zsh or fish",
        operands="SHELL",
        least=1,
        most=1,
        run=completion,
        examples=(
            ("source <(stockade completion bash)", "complete in this shell"),
            (
                "stockade completion fish > ~/.config/fish/completions/stockade.fish",
                "complete in every fish from now on",
            ),
        ),
    )
}
