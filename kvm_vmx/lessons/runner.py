# SPDX-License-Identifier: GPL-2.0-only
"""A student's function on many inputs, run as a script: nothing that it starts outlives this.

The order is JSON on standard input: path, function, parameters, values, each as JSON, inputs as
numbers of values, and the limits: seconds a call, seconds in all, bytes of memory. Each line that
is written is [kind, value]: "value" or "raised" for an input, in order; "broken", "memory",
"endless", "slow" say what stopped it. The answers that are expected do not come here.
"""

import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import TypedDict

LONGEST_ANSWER = 4096
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
POLL = 0.02                     # seconds between two looks at the clock
Student = Callable[..., object]


class Order(TypedDict):
    """What comes on standard input."""

    path: str
    function: str
    parameters: list[str]
    values: list[str]           # each as JSON, and an input as numbers of these
    inputs: list[list[int]]
    seconds: float
    total: float
    memory: int


def prctl(option: int, value: int) -> None:
    """prctl(2) with one argument."""
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


class NotHere:
    """A finder in front of all others: the package has the answers, and is not to be had."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        """Refuse kvm_vmx, leave the rest to the others."""
        if name.partition(".")[0] == "kvm_vmx":
            raise ImportError("kvm_vmx is not to be had here: the function must find the answer")


def where(error: BaseException, path: str) -> str:
    """What was raised, and in which line of the student's file."""
    import traceback

    frames = reversed(traceback.extract_tb(error.__traceback__))
    line = next((frame.lineno for frame in frames if frame.filename == path), None)
    at = f" in line {line}" if line else ""
    return f"{type(error).__name__}{at}: {error}".partition("\n")[0][:200]


def loaded(order: Order) -> tuple[Student | None, str]:
    """(the function, ""), or (None, why not)."""
    space: dict[str, object] = {"__name__": "student"}
    name = order["function"]
    try:
        with open(order["path"], encoding="utf-8") as file:
            exec(compile(file.read(), order["path"], "exec"), space)
    except SyntaxError as error:
        return None, f"is no Python: {error.msg} (line {error.lineno})"
    except MemoryError:
        raise
    except BaseException as error:
        return None, f"cannot be loaded: {where(error, order['path'])}"
    function = space.get(name)
    if not callable(function):
        return None, f"has no function {name}()"
    return function, unfit(function, order)


def unfit(function: Student, order: Order) -> str:
    """Why a function cannot be called with the inputs, "" where it can."""
    import inspect

    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    try:
        signature.bind(*order["parameters"])
    except TypeError:
        wanted = ", ".join(order["parameters"])
        return f"has {order['function']}{signature}: it is called as {order['function']}({wanted})"
    return ""


def one(function: Student, given: list[object], path: str) -> tuple[str, object]:
    """What the function says of one input."""
    try:
        text = json.dumps(function(*given))
        if len(text) > LONGEST_ANSWER:
            raise ValueError(f"an answer of more than {LONGEST_ANSWER} characters")
        return "value", json.loads(text)
    except MemoryError:
        raise
    except BaseException as error:
        return "raised", where(error, path)


def work(order: Order, out: int) -> None:
    """The student's code, and a line for each input; what it prints goes nowhere."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    seconds = int(order["total"]) + 1
    resource.setrlimit(resource.RLIMIT_AS, (order["memory"], order["memory"]))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    sys.meta_path.insert(0, NotHere)

    def say(kind: str, value: object) -> None:
        os.write(out, (json.dumps([kind, value]) + "\n").encode())

    full = False
    try:
        function, why = loaded(order)
        if function is None or why:
            say("broken", why)
            return
        for numbers in order["inputs"]:
            given = [json.loads(order["values"][n]) for n in numbers]   # nobody else's to change
            say(*one(function, given, order["path"]))
    except MemoryError:         # said when all is given back that the student's code has taken
        full = True
    if full:
        say("memory", None)


def family() -> list[int]:
    """All processes that come from this one."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:
                continue
    found = [os.getpid()]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


def end_all() -> None:
    """End whatever is left; whoever loses its parent comes here, as a subreaper gets it."""
    while True:
        for pid in family():
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(POLL / 4)


def hungry(pid: int, memory: int) -> bool:
    """Has the process filled a good part of the memory that it may have?"""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize() > memory // 4
    except OSError:
        return False


def watch(pid: int, lines: int, order: Order) -> str:
    """Hand the lines on until the process has ended, "", or a limit is reached: which."""
    begun = last = time.monotonic()
    ended = False
    while True:
        text = os.read(lines, 1 << 16) if select.select([lines], [], [], 0)[0] else b""
        if text:
            sys.stdout.buffer.write(text)
            last = time.monotonic() if b"\n" in text else last
        elif ended:
            return ""
        now = time.monotonic()
        stop = "endless" if now - last > order["seconds"] else (
            "slow" if now - begun > order["total"] else "")
        if stop:
            return "memory" if hungry(pid, order["memory"]) else stop
        if not text:
            ended = ended or os.waitpid(pid, os.WNOHANG)[0] == pid
            time.sleep(0 if ended else POLL)


def main() -> None:
    """The student's code in a child, this one with the clock beside it."""
    order = json.load(sys.stdin)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    lines, out = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        os.close(lines)
        try:
            work(order, out)
        finally:
            os._exit(0)
    os.close(out)
    try:
        stop = watch(pid, lines, order)
        if stop:
            sys.stdout.buffer.write(json.dumps([stop, None]).encode() + b"\n")
        sys.stdout.flush()
    finally:
        end_all()


if __name__ == "__main__":
    main()
