# SPDX-License-Identifier: GPL-2.0-only
"""Progress on standard error, where that is a terminal and something takes more than 2 seconds."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping

from kvm_vmx.rendering import is_terminal

# seconds
PATIENCE, MOMENT = 2.0, 0.25

_quiet = False
# What shows something now: what begins within it says so there.
_outer: "Display | None" = None


def hush(quiet: bool) -> None:
    """What --quiet says, for this process."""
    global _quiet
    _quiet = quiet


def remark(text: str) -> None:
    """One line on standard error about what goes on now, unless --quiet."""
    if not _quiet:
        with contextlib.suppress(OSError):
            print(text, file=sys.stderr)


class Display:
    """Bars or a spinner of rich's, which begin once PATIENCE is up, and of which nothing stays."""

    def __init__(self, totals: Mapping[str, int | None],
                 live: Callable[[], int] = lambda: 0) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn)

        counted = [BarColumn(), MofNCompleteColumn()] if any(totals.values()) else []
        self.shown = Progress(
            SpinnerColumn(), TextColumn("{task.description}", markup=False), *counted,
            TimeElapsedColumn(), console=Console(stderr=True), transient=True,
            redirect_stdout=False, redirect_stderr=False)
        self.totals, self.live = totals, live
        self.tasks = {name: self.shown.add_task(name, total=total)
                      for name, total in totals.items()}
        self.last = next(iter(totals)), 0, live()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.show, daemon=True)

    def report(self, name: str, done: int) -> None:
        """How far one of them is."""
        self.last = name, done, self.live()
        self.shown.update(self.tasks[name], completed=done)

    def say(self, text: str) -> str:
        """Describe what goes on otherwise; what it was said to be before."""
        task = self.shown.tasks[0]
        before, task.description = task.description, text
        return before

    def show(self) -> None:
        """The thread: wait, then draw until it is over."""
        if self.over.wait(PATIENCE):
            return
        self.shown.start()
        while not self.over.wait(MOMENT):
            name, done, at = self.last
            if total := self.totals[name]:
                self.shown.update(self.tasks[name],
                                  completed=min(total, done + self.live() - at))

    def __enter__(self) -> "Display":
        global _outer
        _outer = self
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        global _outer
        _outer = None
        self.over.set()
        self.thread.join()
        self.shown.stop()


@contextlib.contextmanager
def progress(totals: Mapping[str, int | None], live: Callable[[], int] = lambda: 0
             ) -> Iterator[Callable[[str, int], None]]:
    """report(name, done): a line for each {name: total}, with a bar.

    live() is asked in between how far a counter has moved that counts the same. What does not
    even move that, a guest that computes for instance, shows by its clock that it runs. Nothing
    is written before PATIENCE is up, and nothing of it stays.
    """
    if _quiet or _outer is not None or not is_terminal(sys.stderr):
        yield lambda name, done: None
        return
    with Display(totals, live) as display:
        yield display.report


@contextlib.contextmanager
def working(text: str, log: bool = False) -> Iterator[Callable[[str], object]]:
    """say(text): what is being done, with a clock; for what cannot say how far it is.

    With log each step is a line where nobody looks at a terminal.
    """
    if _quiet or not is_terminal(sys.stderr):
        yield (lambda text: remark(f"{text} ...")) if log else lambda text: None
    elif _outer is not None:
        display, before = _outer, _outer.say(text)
        try:
            yield display.say
        finally:
            display.say(before)
    else:
        with Display({text: None}) as display:
            yield display.say
