# SPDX-License-Identifier: GPL-2.0-only
"""A student's function, run on many inputs in a process of its own with a time limit."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

# For the student's code, and for Python to start besides: a busy machine can need long for that.
SECONDS, STARTING = 2.0, 30.0
LONGEST = 64 << 10

# Reads {path, function, inputs, seconds}; writes one line an input, so that what came before a
# loop counts. What the student prints goes nowhere; the clock starts with the student's code, and
# memory and processor time are limited besides.
RUNNER = """
import json, os, resource, signal, sys
out = os.fdopen(os.dup(1), "w", buffering=1)
null = os.open(os.devnull, os.O_RDWR)
order = json.load(sys.stdin)
for n in (0, 1, 2): os.dup2(null, n)
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (10, 10))
def say(kind, value): out.write(json.dumps([kind, value]) + "\\n")
def words(error):
    line = next((f.lineno for f in reversed(frames(error)) if f.filename == order["path"]), None)
    at = f" in line {line}" if line else ""
    return f"{type(error).__name__}{at}: {error}".partition("\\n")[0][:200]
def frames(error):
    import traceback
    return traceback.extract_tb(error.__traceback__)
space = {"__name__": "student"}
signal.setitimer(signal.ITIMER_REAL, order["seconds"])
try:
    exec(compile(open(order["path"], encoding="utf-8").read(), order["path"], "exec"), space)
except SyntaxError as error:
    say("broken", f"is no Python: {error.msg} (line {error.lineno})"); sys.exit()
except BaseException as error:
    say("broken", f"cannot be loaded: {words(error)}"); sys.exit()
function = space.get(order["function"])
if not callable(function):
    say("broken", f"has no function {order['function']}()"); sys.exit()
for given in order["inputs"]:
    try:
        answer = function(*given)
        json.dumps(answer)
    except (TypeError, ValueError) as error:
        say("raised", words(error))
    except BaseException as error:
        say("raised", words(error))
    else:
        say("value", answer)
"""


def call(path: str, function: str, inputs, seconds: float = SECONDS):
    """([(kind, value) an input], what stopped it or ""): value and raised are the kinds."""
    try:
        text = pathlib.Path(path).stat()
        if not pathlib.Path(path).is_file() or text.st_size > LONGEST:
            return [], f"{path}: give a Python file of at most {LONGEST >> 10} KB"
    except (OSError, ValueError) as error:
        return [], f"{path}: {getattr(error, 'strerror', None) or error}: give a Python file"
    order = json.dumps({"path": os.path.abspath(path), "function": function,
                        "inputs": [list(given) for given in inputs], "seconds": seconds})
    said, limit = run(order, seconds)
    stopped = f"does not end: stopped after {limit:g} s" if limit else ""
    results = []
    for line in said.splitlines():
        try:
            kind, value = json.loads(line)
        except (TypeError, ValueError):
            continue
        if kind == "broken":
            return [], f"{path} {value}"
        results.append((kind, value))
    if len(results) < len(inputs):
        return results, f"{path}: {function}() {stopped or 'ended its process'}"
    return results, ""


def run(order: str, seconds: float) -> tuple[str, float]:
    """(what the runner says, after how many seconds it was stopped; 0: it came to its end)."""
    # files, as a pipe stays open for as long as a process that the student started
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
        given.write(order.encode())
        given.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", RUNNER], stdin=given, stdout=said,
            stderr=subprocess.DEVNULL, start_new_session=True)
        limit = 0.0
        try:
            if process.wait(STARTING + seconds) == -signal.SIGALRM:
                limit = seconds
        except subprocess.TimeoutExpired:       # it has taken its own clock away
            limit = STARTING + seconds
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        said.seek(0)
        return said.read().decode(errors="replace"), limit


def judge(path: str, function: str, cases) -> tuple[list[str], bool]:
    """What to say of a function, and whether it is right; cases are (inputs, expected, label)."""
    results, stopped = call(path, function, [given for given, _, _ in cases])
    wrong = []
    for (given, expected, label), (kind, value) in zip(cases, results):
        if kind == "raised":
            wrong.append(f"{label}: raises {value}")
        elif isinstance(value, bool) or value != expected:
            wrong.append(f"{label}: gives {show(value)}, the run says {show(expected)}")
    says = wrong[:8]
    if len(wrong) > 8:
        says.append(f"... and {len(wrong) - 8} more")
    if stopped:
        at = f" at {cases[len(results)][2]}" if results else ""
        says.append(f"{stopped}{at}")
    right = len(results) - len(wrong)
    says.append(f"{right} of {len(cases)} inputs are right.")
    return says, right == len(cases)


def show(value) -> str:
    """A value in one short line; numbers as the tables have them."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:#06x}"
    return repr(value)[:60]
