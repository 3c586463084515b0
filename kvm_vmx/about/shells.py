# SPDX-License-Identifier: GPL-2.0-only
"""The completion scripts of four shells, made of the command line as data."""

import re
from collections.abc import Iterable

from kvm_vmx.about.commands import PROGRAM, Argument, Command

LICENCE = "# SPDX-License-Identifier: GPL-2.0-only"
WHAT = f"completes the command line of {PROGRAM}"

BASH = """\
_kvm_vmx() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
  local command="" options="" valued="" words="" files="" last=0 position=0 at
  COMPREPLY=()
  # --option=value is three words
  [[ $cur == "=" ]] && cur=""
  [[ $prev == "=" ]] && prev=${COMP_WORDS[COMP_CWORD-2]}
  for ((at = 1; at < COMP_CWORD; at++)); do
    [[ ${COMP_WORDS[at]} == -* || ${COMP_WORDS[at-1]} == --color ]] && continue
    command=${COMP_WORDS[at]}
    break
  done
  case $command in
@commands@
    *) return ;;
  esac
  [[ $command ]] || at=COMP_CWORD
  for ((at++; at < COMP_CWORD; at++)); do
    case ${COMP_WORDS[at]} in
      =) ((at++)) ;;
      -*) [[ " $valued " == *" ${COMP_WORDS[at]} "* && ${COMP_WORDS[at+1]} != "=" ]] && ((at++)) ;;
      *) ((position++)) ;;
    esac
  done
  ((position > last)) && position=$last
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$options" -- "$cur"))
    return
  fi
  [[ " $valued " == *" $prev "* ]] && position=$prev
  case $command:$position in
@values@
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
  if [[ $files ]]; then
    compopt -o filenames 2>/dev/null
    local IFS=$'\\n'
    COMPREPLY+=($(compgen -f -- "$cur"))
  fi
}
complete -F _kvm_vmx kvm-vmx
"""


def spread(flags: tuple[Argument, ...]) -> list[str]:
    """Every flag of some options."""
    return [flag for option in flags for flag in option.flags]


def listed(words: Iterable[str]) -> str:
    """Words in single quotes; none of ours has one."""
    return "'" + " ".join(word.replace("'", "") for word in words) + "'"


def bash(commands: list[Command]) -> str:
    """The script of bash."""
    heads, values = [], []
    for command in commands:
        valued = spread(tuple(option for option in command.options if option.metavar))
        name = command.name or '""'
        heads.append(f"    {name}) options={listed(spread(command.options))}"
                     f" valued={listed(valued)} last={max(len(command.arguments) - 1, 0)} ;;")
        slots = [("|".join(f"{command.name}:{flag}" for flag in option.flags), option)
                 for option in command.options if option.metavar]
        slots += [(f"{command.name}:{n}", one) for n, one in enumerate(command.arguments)]
        if not command.name:
            values.append(f"    :0) words={listed(one.name for one in commands[1:])} ;;")
        for place, one in slots:
            if one.words or one.files:
                values.append(f"    {place}) words={listed(one.words)}"
                              f"{' files=1' if one.files else ''} ;;")
    return f"{LICENCE}\n# {WHAT} in bash\n" + BASH.replace(
        "@commands@", "\n".join(heads)).replace("@values@", "\n".join(values))


def sentence(text: str, most: int = 72) -> str:
    """Help as a shell shows it beside a word: one short line without quotes and brackets."""
    line = re.sub(r"['\"`\\$\[\]]", "", " ".join(text.split())).replace(":", ",")
    return line if len(line) <= most else line[:most - 3].rstrip() + "..."


def zsh_value(one: Argument) -> str:
    """What stands for a value of an argument, as _arguments wants it."""
    words = f"(({' '.join(one.words)}))".replace("((", "(").replace("))", ")")
    name = re.sub(r"\W+", " ", one.metavar).strip() or "value"
    if one.words and one.files:
        return f":{name}:_kvm_vmx_or_files {' '.join(one.words)}"
    return f":{name}:{words if one.words else '_files' if one.files else ' '}"


def zsh(commands: list[Command]) -> str:
    """The script of zsh."""
    lines = ["#compdef kvm-vmx", LICENCE, f"# {WHAT} in zsh", "",
             "_kvm_vmx_or_files() { compadd -- $@; _files }", "", "_kvm_vmx() {",
             "  local context state state_descr line", "  typeset -A opt_args",
             "  local -a commands",
             "  commands=("]
    lines += [f"    '{one.name}:{sentence(one.summary)}'" for one in commands[1:]]
    lines += ["  )", "  _arguments -C \\", *zsh_options(commands[0].options),
              "    '1: :->command' '*:: :->rest'",
              "  case $state in", "    command) _describe command commands ;;", "    rest)",
              "      case $words[1] in"]
    for command in commands[1:]:
        lines += [f"        {command.name})", "          _arguments -S \\",
                  *(f"      {line}" for line in zsh_options(command.options))]
        lines += [f"            '{'*' if one.many else n}{zsh_value(one)}' \\"
                  for n, one in enumerate(command.arguments, 1)]
        lines += ["            && return", "          ;;"]
    return "\n".join([*lines, "      esac ;;", "  esac", "}", "", '_kvm_vmx "$@"']) + "\n"


def zsh_options(options: Iterable[Argument]) -> list[str]:
    """A line each of the options."""
    return [f"    '{flag}[{sentence(one.help)}]{zsh_value(one) if one.metavar else ''}' \\"
            for one in options for flag in one.flags]


def fish(commands: list[Command]) -> str:
    """The script of fish."""
    lines = [LICENCE, f"# {WHAT} in fish", f"complete -c {PROGRAM} -f"]
    names = " ".join(one.name for one in commands[1:])
    for named in commands[1:]:
        lines.append(f"complete -c {PROGRAM} -n 'not __fish_seen_subcommand_from {names}' "
                     f"-a {named.name} -d '{sentence(named.summary)}'")
    for command in commands:
        when = f"__fish_seen_subcommand_from {command.name}" if command.name else \
            f"not __fish_seen_subcommand_from {names}"
        head = f"complete -c {PROGRAM} -n '{when}'"
        for one in command.options:
            flags = "".join(f" -l {flag[2:]}" if flag.startswith("--") else f" -s {flag[1:]}"
                            for flag in one.flags)
            value = f"{' -r' if one.metavar else ''}{' -F' if one.files else ''}"
            lines.append(f"{head}{flags}{value}{fish_words(one)} -d '{sentence(one.help)}'")
        for one in command.arguments:
            if one.words or one.files:
                lines.append(f"{head}{' -F' if one.files else ''}{fish_words(one)}")
    return "\n".join(lines) + "\n"


def fish_words(one: Argument) -> str:
    """The words that fish offers for an argument."""
    return f" -a '{' '.join(one.words)}'" if one.words else ""


def tcsh(commands: list[Command]) -> str:
    """The line of tcsh, which does not know one command's options from another's."""
    valued: dict[str, tuple[tuple[str, ...], bool]] = {}
    flags: list[str] = []
    for command in commands:
        for one in command.options:
            flags += [flag[2:] for flag in one.flags if flag.startswith("--")]
            for flag in one.flags if one.metavar else ():
                valued.setdefault(flag, (one.words, one.files))
    parts = [f"'n/{flag}/({' '.join(words)})/'" if words else f"'n/{flag}/f/'"
             for flag, (words, files) in valued.items() if words or files]
    parts.append(f"'c/--/({' '.join(dict.fromkeys(flags))})/'")
    parts.append(f"'p/1/({' '.join(one.name for one in commands[1:])})/'")
    for command in commands[1:]:
        words = command.arguments[0].words if command.arguments else ()
        if words:
            parts.append(f"'n/{command.name}/({' '.join(words)})/'")
    return f"complete {PROGRAM} {' '.join(parts)} 'p/*/f/'\n"


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish, "tcsh": tcsh}
