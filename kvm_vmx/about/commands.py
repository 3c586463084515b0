# SPDX-License-Identifier: GPL-2.0-only
"""The command line as data: each command with its options, arguments and the words they take.

Shell completions and manual pages are made of this, so that neither says what the parser does not.
"""

import argparse
from typing import NamedTuple

PROGRAM = "kvm-vmx"
FILES = {"FILE", "FILE.json", "TREE", "DIR", "PATH", "NAME|FILE", "OLD", "NEW"}


class Argument(NamedTuple):
    """An option, or an argument, which has no flags."""

    flags: tuple[str, ...]
    metavar: str            # nothing: the option takes no value
    help: str
    words: tuple[str, ...]  # what a shell completes
    files: bool             # or the names of files
    required: bool
    many: bool


class Command(NamedTuple):
    """A command; the name of the whole program is empty."""

    name: str
    summary: str
    about: str
    examples: str
    options: tuple[Argument, ...]
    arguments: tuple[Argument, ...]

    @property
    def title(self) -> str:
        """As it is typed."""
        return f"{PROGRAM} {self.name}".rstrip()


def argument_of(action: argparse.Action) -> Argument:
    """What argparse knows of one."""
    offered = getattr(action, "offered", action.choices or ())
    words: tuple[str, ...] = tuple(map(str, offered() if callable(offered) else offered))
    takes = action.nargs != 0
    metavar = str(action.metavar or action.dest.upper()) if takes else ""
    if action.choices and not action.metavar:
        metavar = "|".join(words)
    return Argument(
        tuple(action.option_strings), metavar, (action.help or "").replace("%%", "%"), words,
        takes and (metavar in FILES or action.dest in ("old", "new")), action.required,
        action.nargs in ("*", "+"))


def command_of(name: str, parser: argparse.ArgumentParser) -> Command:
    """A parser as data."""
    found = [action for action in parser._actions
             if not isinstance(action, argparse._SubParsersAction)
             and action.help is not argparse.SUPPRESS]
    options = tuple(argument_of(action) for action in found if action.option_strings)
    arguments = tuple(argument_of(action) for action in found if not action.option_strings)
    about = (parser.description or "").strip()
    return Command(name, about.partition("\n")[0].rstrip("."), about, parser.epilog or "",
                   options, arguments)


def all_of(top: argparse.ArgumentParser) -> list[Command]:
    """The program, then its commands in their order."""
    (commands,) = (action for action in top._actions
                   if isinstance(action, argparse._SubParsersAction))
    return [command_of("", top), *(command_of(name, parser)
                                   for name, parser in commands.choices.items())]
