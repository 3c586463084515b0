# SPDX-License-Identifier: GPL-2.0-only
"""A command as a manual page: man(7) source, made of the command line as data."""

import re
from collections.abc import Iterable

from kvm_vmx.about.commands import PROGRAM, Argument, Command

STATUS = (
    ("0", "what was shown holds"),
    ("1", "it differs or falls short"),
    ("2", "trouble, said in one line on standard error that names the cure"),
)
ENVIRONMENT = (
    ("KVM_VMX_TREE_4_19, KVM_VMX_TREE", "the kernel tree to compare with, as --tree takes it"),
    ("KVM_VMX_KERNEL_CACHE", "where builds of kernels are kept"),
    ("KVM_VMX_INSN", "call or trap: the form of instructions where none is asked for"),
    ("KVM_VMX_WITHOUT", "what of the host is to be found missing, with commas between"),
    ("KVM_VMX_TRACEBACK", "print what led to trouble before its line"),
    ("XDG_CACHE_HOME", "the folder of caches, by default ~/.cache"),
    ("NO_COLOR, FORCE_COLOR", "no colours, or colours everywhere, unless --color is given"),
    ("COLUMNS", "how wide the output may be"),
)


def escaped(text: str) -> str:
    """Text that roff prints as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace(
        "`", "\\(ga").replace("^", "\\(ha").replace("~", "\\(ti").replace('"', "\\(dq")
    text = "".join(sign if sign.isascii() else f"\\[u{ord(sign):04X}]" for sign in text)
    return re.sub(r"^([.])", r"\\&\1", text, flags=re.M)


def paragraphs(text: str) -> list[str]:
    """Text as it stands in a docstring: a blank line parts, other line ends are blanks."""
    lines = []
    for part in re.split(r"\n\s*\n", text.strip()):
        lines += [".PP", *filter(None, escaped(part.strip()).split("\n"))]
    return lines


def literal(text: str) -> list[str]:
    """Lines as they are."""
    return [".PP", ".nf", *(escaped(line) or ".sp" for line in text.rstrip().split("\n")), ".fi"]


def flags_of(one: Argument) -> str:
    """An option with its value, as it is typed."""
    if not one.flags:
        return f"\\fI{escaped(one.metavar)}\\fR"
    value = f" \\fI{escaped(one.metavar)}\\fR" if one.metavar else ""
    return ", ".join(f"\\fB{escaped(flag)}\\fR" for flag in one.flags) + value


def synopsis(command: Command) -> list[str]:
    """How it is typed, in short."""
    parts = [f".B {escaped(command.title)}", "[\\fIoptions\\fR]"]
    for one in command.arguments:
        text = f"\\fI{escaped(one.metavar)}\\fR{' ...' if one.many else ''}"
        parts.append(text if one.required else f"[{text}]")
    return parts if command.name else [*parts, "\\fIcommand\\fR [...]"]


def tagged(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """A list of terms, each with what it means."""
    lines = []
    for term, text in pairs:
        lines += [".TP", term, escaped(" ".join(text.split())) or "\\&"]
    return lines


def page(command: Command, commands: list[Command], version: str) -> str:
    """The page of a command among all."""
    name, does = command.title.replace(" ", "-"), command.summary
    if not command.name:
        does = does.partition(": ")[2]
    lines = ['.\\" SPDX-License-Identifier: GPL-2.0-only',
             '.\\" The manual page of a command, printed from its parser.',
             f'.TH {escaped(name.upper())} 1 "" "{PROGRAM} {version}" "{PROGRAM}"',
             ".SH NAME", f"{escaped(name)} \\- {escaped(does)}",
             ".SH SYNOPSIS", *synopsis(command)]
    about = command.about.partition("\n")[2] if command.name else ""
    if about.strip():
        lines += [".SH DESCRIPTION", *paragraphs(about)[1:]]
    if command.arguments:
        lines += [".SH ARGUMENTS", *tagged((flags_of(one), one.help) for one in command.arguments)]
    lines += [".SH OPTIONS", *tagged((flags_of(one), one.help) for one in command.options)]
    if not command.name:
        lines += [".SH COMMANDS", *tagged((f"\\fB{escaped(one.name)}\\fR", one.summary)
                                          for one in commands[1:])]
        lines += [".SH EXIT STATUS", *tagged((f"\\fB{code}\\fR", text) for code, text in STATUS)]
        lines += [".SH ENVIRONMENT", *tagged((f"\\fB{escaped(names)}\\fR", text)
                                             for names, text in ENVIRONMENT)]
    if command.examples:
        lines += [".SH EXAMPLES", *literal(command.examples.partition("\n")[2])[1:]]
    others = [one.title.replace(" ", "-") for one in commands if one is not command]
    lines += [".SH SEE ALSO", *(f".BR {escaped(one)} (1){',' if one != others[-1] else ''}"
                                for one in others)]
    return "\n".join(lines) + "\n"
