# SPDX-License-Identifier: GPL-2.0-only
"""A student's function: run in a process of its own with limits, and judged here."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

# For a call and for all of them; and for Python to start besides, as a busy machine can need long.
SECONDS, IN_ALL, STARTING = 2.0, 10.0, 30.0
MEMORY = 512                    # MB
LONGEST = 64 << 10
RUNNER = pathlib.Path(__file__).with_name("runner.py")
RESULTS = ("value", "raised")


def refused(path: str) -> str:
    """Why there is nothing to run at path, "" where there is."""
    try:
        found = pathlib.Path(path).stat()
        if not pathlib.Path(path).is_file() or found.st_size > LONGEST:
            return f"{path}: give a Python file of at most {LONGEST >> 10} KB"
        with open(path, "rb"):
            return ""
    except (OSError, ValueError) as error:
        return f"{path}: {getattr(error, 'strerror', None) or error}: give a Python file"


def call(path: str, function: str, inputs: Sequence[Sequence[object]],
         parameters: Sequence[str] = (), seconds: float = SECONDS,
         in_all: float = IN_ALL) -> tuple[list[tuple[str, Any]], str]:
    """([(kind, value) an input], what stopped it or ""): value and raised are the kinds."""
    if why := refused(path):
        return [], why
    given = [list(one) for one in inputs]
    # a table that all inputs have is written once
    values = {id(value): value for one in given for value in one}
    number = {identity: n for n, identity in enumerate(values)}
    order = {"path": os.path.abspath(path), "function": function,
             "values": [json.dumps(value) for value in values.values()],
             "inputs": [[number[id(value)] for value in one] for one in given],
             "parameters": list(parameters) or ["_"] * max(map(len, given), default=0),
             "seconds": seconds, "total": in_all, "memory": MEMORY << 20}
    results, stop, words = [], "ended", None
    for line in run(json.dumps(order), STARTING + in_all).splitlines():
        try:
            kind, value = json.loads(line)
        except (TypeError, ValueError):
            continue
        if kind in RESULTS:
            results.append((kind, value))
        else:
            stop, words = kind, value
    if stop == "broken":
        return [], f"{path} {words}"
    if len(results) == len(inputs):
        return results, ""
    return results, f"{path}: {function}() " + {
        "endless": f"does not end: stopped after {seconds:g} s",
        "slow": f"is too slow: {len(results)} of {len(inputs)} inputs in {in_all:g} s",
        "memory": f"takes too much memory: more than there is for it, {MEMORY} MB in all",
    }.get(stop, "ended its process")


def run(order: str, patience: float) -> str:
    """What the runner says; it keeps the limits, and ends all that the student's code started."""
    # files, as a pipe stays open for as long as a process that the student started
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
        given.write(order.encode())
        given.seek(0)
        process = subprocess.Popen(     # -S: nothing that is installed, this package least of all
            [sys.executable, "-I", "-S", str(RUNNER)], stdin=given, stdout=said,
            stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.terminate()         # it ends the others first
            try:
                process.wait(STARTING)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        said.seek(0)
        return said.read().decode(errors="replace")


def judge(path: str, function: str, parameters: Sequence[str],
          cases: Sequence[tuple[Sequence[object], object, str]],
          source: str) -> tuple[list[str], bool]:
    """What to say of a function, and whether it is right; cases are (inputs, expected, label),
    source is what says so."""
    results, stopped = call(path, function, [given for given, _, _ in cases], parameters)
    wrong = []
    for (given, expected, label), (kind, value) in zip(cases, results):
        if kind == "raised":
            wrong.append(f"{label}: raises {value}")
        elif isinstance(value, bool) or value != expected:
            wrong.append(f"{label}: gives {show(value)}, {source} says {show(expected)}")
    says = wrong[:8]
    if len(wrong) > 8:
        says.append(f"... and {len(wrong) - 8} more")
    if stopped:
        at = f", at {cases[len(results)][2]}" if results and len(results) < len(cases) else ""
        says.append(f"{stopped}{at}")
    right = len(results) - len(wrong)
    says.append(f"{right} of {len(cases)} inputs are right.")
    return says, right == len(cases)


def show(value: object) -> str:
    """A value in one short line; numbers as the tables have them."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:#06x}"
    if isinstance(value, list):
        return f"({', '.join(map(show, value))})"[:60]
    return repr(value)[:60]
