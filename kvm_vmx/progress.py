# SPDX-License-Identifier: GPL-2.0-only
"""Progress on standard error, where that is a terminal and something takes more than 2 seconds."""

import contextlib
import sys
import threading

# seconds
PATIENCE, MOMENT = 2.0, 0.25


@contextlib.contextmanager
def progress(totals, live=lambda: 0):
    """report(name, done): a line for each {name: total}, with a bar.

    live() is asked in between how far a counter has moved that counts the same. What does not
    even move that, a guest that computes for instance, shows by its clock that it runs. Nothing
    is written before PATIENCE is up, and nothing of it stays.
    """
    if not sys.stderr.isatty():
        yield lambda name, done: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn)

    shown = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), console=Console(stderr=True), transient=True)
    tasks = {name: shown.add_task(name, total=total) for name, total in totals.items()}
    last = next(iter(totals)), 0, live()
    over = threading.Event()

    def report(name, done):
        nonlocal last
        last = name, done, live()
        shown.update(tasks[name], completed=done)

    def show():
        if over.wait(PATIENCE):
            return
        shown.start()
        while not over.wait(MOMENT):
            name, done, at = last
            shown.update(tasks[name], completed=min(totals[name], done + live() - at))

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield report
    finally:
        over.set()
        thread.join()
        shown.stop()
