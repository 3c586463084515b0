# SPDX-License-Identifier: GPL-2.0-only
"""Starts kvm-vmx as a child of a process that has imported it: what every start would do again.

run() is subprocess.run() of `python -m kvm_vmx`, python() of `python -c`; they are just that where
the environment would change how an interpreter starts. As a script, this is the process whose
children they are.
"""

import atexit
import gc
import importlib.util
import json
import os
import pathlib
import resource
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types

# What a process begins with that cannot import some packages, and how one goes on after what it
# begins with.
BLOCKED = "import sys\nsys.modules.update(dict.fromkeys({}))\n"
THEN = "\nimport sys\nfrom kvm_vmx.cli import main\nsys.exit(main(sys.argv[1:]))\n"
# The children find the same package as the tests do.
PACKAGE = pathlib.Path(importlib.util.find_spec("kvm_vmx").origin).parents[1]
LARGEST = 1 << 17
# What an interpreter reads when it starts, and not again; beside these nothing is read so early.
ENCODING = "PYTHONIOENCODING"
AT_START = ("PYTHON", "LANG", "LC_", "LD_", "MALLOC_", "GLIBC_")


def run(arguments, *, cwd=None, env=None, timeout=120, text=True, memory=None, without=(),
        first="", out=None, shut=()):
    """The finished process of a command line; standard input is empty. With `memory`, so many
    bytes of addresses are all that it may have; `without` are packages that it cannot import,
    `first` is Python that it begins with, the file `out` stands for its standard output, and the
    streams of the numbers in `shut` are closed."""
    first = (BLOCKED.format(list(without)) if without else "") + first
    start = ["-c", first + THEN] if first else ["-m", "kvm_vmx"]
    return started(start, arguments, cwd, env, timeout, text, memory, without, first, out, shut)


def python(code, *arguments, cwd=None, env=None, timeout=120):
    """The finished process of a program, whose module is __main__; likewise."""
    return started([], ("-c", code, *arguments), cwd, env, timeout)


def started(start, arguments, cwd, env, timeout, text=True, memory=None, without=(), first="",
            out=None, shut=()):
    """The finished process of an interpreter's command line."""
    command = [sys.executable, *start, *map(str, arguments)]
    env = dict(os.environ if env is None else env)
    message = json.dumps([command[len(start) + 1:], os.fspath(cwd or os.getcwd()), env, memory,
                          list(without), first, list(shut)]).encode()
    if differs_at_start(env) or len(message) > LARGEST or not _lock.acquire(blocking=False):
        return subprocess.run(command, stdout=out or subprocess.PIPE, stderr=subprocess.PIPE,
                              text=text, stdin=subprocess.DEVNULL, timeout=timeout, cwd=cwd,
                              env=env, preexec_fn=lambda: narrowed(memory, shut))
    try:
        return of_nursery(command, message, timeout, text, env.get(ENCODING), out)
    finally:
        _lock.release()


def narrowed(memory, shut) -> None:
    """Let this process have so many bytes of addresses, where it is a number, and none of these
    streams."""
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    for number in shut:
        os.close(number)


def differs_at_start(env) -> bool:
    """Would an interpreter start otherwise with it? That the package is found is seen to, and so
    is the encoding."""
    def early(one):
        return {name: value for name, value in one.items()
                if name.startswith(AT_START) and name not in ("PYTHONPATH", ENCODING)}
    return early(env) != early(os.environ)


def of_nursery(command, message, timeout, text, encoding, given):
    """One command line by a child of the nursery: files stand for its pipes."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        nursery = opened(encoding is not None)
        socket.send_fds(nursery, [message], [(given or out).fileno(), err.fileno()])
        nursery.settimeout(30)
        pid = json.loads(nursery.recv(LARGEST))
        nursery.settimeout(timeout)
        try:
            status = json.loads(nursery.recv(LARGEST))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            nursery.settimeout(30)
            nursery.recv(LARGEST)
            raise subprocess.TimeoutExpired(command, timeout) from None
        said = []
        for file in (out, err):
            file.seek(0)
            found = file.read()
            said.append(found.decode() if text else found)
    return subprocess.CompletedProcess(command, status, *said)


_lock = threading.Lock()
_open = {}


def opened(encoded):
    """This process's end of the socket to its nursery, started once; there is another one for who
    names no encoding."""
    if (os.getpid(), encoded) not in _open:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        rest = {name: value for name, value in os.environ.items() if name != ENCODING}
        child = subprocess.Popen(
            [sys.executable, __file__, str(there.fileno())], pass_fds=[there.fileno()],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,       # nor can its children seek
            env={**rest, **({ENCODING: "utf-8"} if encoded else {}), "PYTHONPATH": str(PACKAGE)})
        there.close()
        _open[os.getpid(), encoded] = here
        atexit.register(closed, here, child)
    return _open[os.getpid(), encoded]


def closed(here, child):
    """Let the nursery end."""
    here.close()
    child.wait(10)


def serve(end):
    """Make a child for each command line until the socket is closed; in the child, what to run."""
    while True:
        message, files, _, _ = socket.recv_fds(end, LARGEST, 2)
        if not message:
            sys.exit()
        pid = os.fork()
        if pid == 0:
            end.close()
            return json.loads(message), files
        for file in files:
            os.close(file)
        end.send(json.dumps(pid).encode())
        end.send(json.dumps(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())


# What the nursery itself has imported, or tried to, and read of the system before its first child.
_early = {"open": True, "imports": set(), "proc": set()}


def note(event, given):
    """Keep account of that: a child can go without nothing that has been used already."""
    if _early["open"] and event == "import":
        _early["imports"].add(given[0].partition(".")[0])
    elif _early["open"] and event == "open" and str(given[0]).startswith("/proc/"):
        _early["proc"].add(given[0])


def become(arguments, cwd, env, memory, without, first, shut, files):
    """What `python -m kvm_vmx ARGUMENTS` is when it starts, with these files to write to, or
    `python ARGUMENTS` where they begin with -c."""
    for number, file in enumerate(files, 1):
        os.dup2(file, number)
        os.close(file)
    os.chdir(cwd)
    narrowed(memory, shut)
    os.environ.clear()
    os.environ.update(env)
    for number in shut:                 # as an interpreter finds them
        name = ("stdin", "stdout", "stderr")[number]
        setattr(sys, name, None)
        setattr(sys, f"__{name}__", None)
    if ENCODING in env:
        name, _, errors = env[ENCODING].partition(":")
        for stream, how in ((sys.stdin, errors), (sys.stdout, errors),
                            (sys.stderr, "backslashreplace")):
            if stream is not None:
                stream.reconfigure(encoding=name, errors=how or "strict")
    gc.enable()
    if arguments[:1] == ["-c"]:
        sys.argv = ["-c", *arguments[2:]]
        sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(arguments[1], "<string>", "exec"), vars(sys.modules["__main__"]))
        return
    sys.argv = ["kvm_vmx", *arguments]
    used = _early["imports"] | {name.partition(".")[0] for name in sys.modules}
    assert not used & set(without) and not (first and _early["proc"]), (used, _early["proc"])
    exec(first, {})
    runpy.run_module("kvm_vmx", run_name="__main__", alter_sys=True)


def end(status):
    """What an interpreter does at its end, but for taking apart all that it has: for that it would
    copy each page that it shares with the nursery. Programs of -c do, which are about that."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except (OSError, ValueError):
            status = 120        # Python's own for this
    os._exit(status)


def status_of(program, *given):
    """The exit status of an interpreter that runs this."""
    try:
        program(*given)
    except SystemExit as stop:
        if stop.code is None or isinstance(stop.code, int):
            return (stop.code or 0) & 0xFF
        print(stop.code, file=sys.stderr)
        return 1
    except Exception:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def main():
    """As a script: import all that every command line imports, read the port's sources, which
    compare and lessons begin with, then wait for them."""
    del sys.path[0]  # the tests' own folder, which no command looks into
    sys.addaudithook(note)
    from kvm_vmx import Machine as Machine
    from kvm_vmx import cli
    from kvm_vmx.compare import port
    from kvm_vmx.lessons import sources

    gc.disable()
    cli.parser()
    Port, read = port.Port, [sources.port()]
    port.Port = lambda *given: Port(*given) if given or not read else read.pop()
    gc.freeze()
    _early["open"] = False
    (message, files) = serve(socket.socket(fileno=int(sys.argv[1])))
    if message[0][:1] == ["-c"]:
        become(*message, files)
    else:
        end(status_of(become, *message, files))


if __name__ == "__main__":
    main()
