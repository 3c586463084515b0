# SPDX-License-Identifier: GPL-2.0-only
"""Five walks through the house, recorded while they are made, hop by hop.

usage: python dev/walks.py [read trap enter run lesson]

What is Python is recorded as it calls (sys.setprofile). What is compiled is stepped through by
another process (ptrace), each instruction put to its file by the modules' own line tables, so that
what was inlined is there, too. A hop is a call into another room; the way back along the stack is
none, and calls of one room one after the other are one stay there. Told with each hop: "again"
where its room was left before, "back" where it calls a room that waits for it to return. Rooms of
L0 are told one by one: vmcs/ entry/ guest/ hv/ watch/.
"""

import ctypes
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "kvm_vmx"
sys.path.insert(0, str(ROOT))
from kvm_vmx import Machine, building  # noqa: E402
from kvm_vmx.machine.guests import CPUID_LOOP  # noqa: E402
from kvm_vmx.machine.line_table import LineTable, NoLines, sections  # noqa: E402

TRACEME, CONT, SINGLESTEP, GETREGS = 0, 7, 9, 12
RIP, RSP = 16, 19       # in struct user_regs_struct
MOST = 3_000_000        # steps


class Stay:
    """One stay in a room: how deep on the stack, and the stay that it called last."""

    def __init__(self, room: str, depth: int):
        self.room, self.depth, self.called = room, depth, None


class Walk:
    """The rooms that calls lead through; `depth` is where on the stack a place stands."""

    def __init__(self):
        self.hops, self.stack, self.left = [], [], set()

    def at(self, room: str, depth: int, where: str, fresh: bool = False) -> None:
        """A place in a room. Deeper on the stack is a higher number; a fresh frame has ended each
        one that was as deep."""
        if room == "include":       # the ground: what both sides know, inlined where it is used
            if not any(name == room for name, *_ in self.hops):
                self.hops.append((room, where, ""))
            return
        popped = []
        while self.stack and self.stack[-1].depth > depth - fresh:
            popped.append(self.stack.pop())
        here = self.stack[-1] if self.stack else None
        own = next((stay for stay in popped if stay.room == room), None)
        if not fresh and own and not (here and here.room == room):
            own.depth = depth       # its own end, with less on the stack
            popped.remove(own)
            self.stack.append(own)
        self.left.update(stay.room for stay in popped)
        here = self.stack[-1] if self.stack else None
        if fresh and here and here.room == room:
            return
        known = [] if fresh else [n for n, stay in enumerate(self.stack)
                                  if stay.room == room and stay.depth >= depth]
        if known:       # a way back, by the stack or out of what was inlined
            self.left.update(stay.room for stay in self.stack[known[-1] + 1:])
            del self.stack[known[-1] + 1:]
        elif here and here.room == room:
            here.depth = max(depth, here.depth)
        else:
            self.enter(here, room, depth, where)

    def enter(self, here: Stay | None, room: str, depth: int, where: str) -> None:
        """A call into another room; where the caller called nothing else since, the same stay."""
        if here and here.called and here.called.room == room:
            here.called.depth = depth
            self.stack.append(here.called)
            return
        note = "back" if any(stay.room == room for stay in self.stack) else \
            "again" if room in self.left else ""
        self.hops.append((room, where, note))
        self.stack.append(Stay(room, depth))
        if here:
            here.called = self.stack[-1]

    def told(self, title: str) -> str:
        """The walk as lines."""
        shown = list(dict.fromkeys(self.hops))
        lines = [f"  {room:<16} {where}{f'   [{note}]' if note else ''}"
                 for room, where, note in shown]
        twice = sorted({room for room, _, note in shown if note == "again"})
        backs = sorted({room for room, _, note in shown if note == "back"})
        return "\n".join([f"{title}: {len(shown)} hops", *lines,
                          f"  entered twice: {', '.join(twice) or 'none'};"
                          f" called back: {', '.join(backs) or 'none'}", ""])


def room_of(path: str) -> str:
    """The room that a file is in, "" for the ground and what is no room of the house."""
    found = re.search(r"(?:^|/)(include|kvm_vmx)/([\w.]+)(?:/([\w.]+))?", path)
    if not found:
        return ""
    top, first, second = found.groups()
    if top == "include":
        return "include"
    if second is None:
        return first.partition(".")[0] if first.startswith("cli.") else ""
    if first == "l0":       # its state and its memory are the ground of its rooms
        return f"l0/{second}" if "." not in second else "" if second.endswith(".h") else "l0"
    return first


def python_walk(call, begin: tuple[str, str]) -> Walk:
    """The rooms that a call in Python leads through from a function on, compiled methods by their
    class's module."""
    walk, depth, going = Walk(), 0, False

    def profile(frame, event, arg):
        nonlocal depth, going
        if event == "call":
            depth += 1
            file = frame.f_code.co_filename
            going = going or file.endswith(begin[0]) and frame.f_code.co_name == begin[1]
            if going and (room := room_of(file)) and "<" not in frame.f_code.co_name:
                walk.at(room, depth, f"{pathlib.PurePath(file).name}:{frame.f_code.co_name}",
                        fresh=True)
        elif event == "return":
            depth -= 1
        elif event == "c_call":
            owner = type(getattr(arg, "__self__", None))
            module = getattr(arg, "__module__", "") or getattr(
                getattr(arg, "__objclass__", owner), "__module__", "")
            if going and str(module).startswith("kvm_vmx."):
                walk.at(room_of(module.replace(".", "/")), depth + 1,
                        f"{module.rpartition('.')[2]}:{arg.__name__}", fresh=True)

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    return walk


def compiled_walk(prepare, begin=None, end=None) -> Walk:
    """The rooms that what prepare() returns leads through when a child calls it, step by step.
    begin and end cut the walk: they are asked about each (room, function's line)."""
    child = os.fork()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    if child == 0:
        libc.ptrace(TRACEME, 0, None, None)
        call = prepare()
        os.kill(os.getpid(), signal.SIGSTOP)
        call()
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    while os.WIFSTOPPED(status) and os.WSTOPSIG(status) != signal.SIGSTOP:
        _, status = _go(libc, CONT, child, os.WSTOPSIG(status))     # until it is ready
    if not os.WIFSTOPPED(status):
        sys.exit("the walk ended before it began")
    try:
        return stepped(libc, child, begin, end)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _go(libc, how: int, child: int, number: int):
    libc.ptrace(how, child, None, number)
    return os.waitpid(child, 0)


def stepped(libc, child: int, begin, end) -> Walk:
    """The walk of a child that stands before its call."""
    spans, tables, known = modules(child), {}, {}
    walk, regs, number, going = Walk(), (ctypes.c_ulong * 27)(), 0, begin is None
    for _ in range(MOST):
        _, status = _go(libc, SINGLESTEP, child, number)
        if os.WIFEXITED(status) or os.WSTOPSIG(status) == signal.SIGSTOP:
            break
        number = 0 if os.WSTOPSIG(status) == signal.SIGTRAP else os.WSTOPSIG(status)
        libc.ptrace(GETREGS, child, None, ctypes.addressof(regs))
        rip = regs[RIP]
        place = known.get(rip)
        if place is None:
            place = known[rip] = placed(rip, spans, tables)
        room, where = place
        if not room:
            continue
        if not going and begin(room, where):
            going = True
        if going:
            if end and end(room, where):
                break
            walk.at(room, -regs[RSP], where)
    return walk


def modules(child: int):
    """(start, end, moved, path) of the text of each compiled room of a process."""
    found, first = [], {}
    for line in pathlib.Path(f"/proc/{child}/maps").read_text().splitlines():
        span, flags, offset, _, _, *path = line.split(None, 5)
        if path and path[0].startswith(f"{PACKAGE}/") and path[0].endswith(".so"):
            start, stop = (int(word, 16) for word in span.split("-"))
            if int(offset, 16) == 0:
                first[path[0]] = start
            if "x" in flags:
                found.append((start, stop, first.get(path[0], start), path[0]))
    return found


def placed(rip: int, spans, tables) -> tuple[str, str]:
    """(room, file:function) of an address; ("", "") outside, and where Python wraps a call."""
    for start, stop, moved, path in spans:
        if start <= rip < stop:
            if path not in tables:
                tables[path] = lines_of(path)
            if tables[path] is None:    # built without lines: the module is all that is known
                return room_of(path), pathlib.PurePath(path).name.partition(".")[0]
            place = tables[path].at(rip - moved)
            if place is None or place[0].endswith(".c"):
                return "", ""
            file = place[0][max(place[0].find("include/"), place[0].find("kvm_vmx/")):]
            return room_of(file), f"{pathlib.PurePath(file).name}:{function_at(file, place[1])}"
    return "", ""


def lines_of(path: str) -> LineTable | None:
    """The line table of a module; L0's, which is built without, of the same code with lines."""
    try:
        return twin(path) if path.startswith(f"{PACKAGE}/l0/") else LineTable(path)
    except NoLines:
        return None


def twin(path: str) -> LineTable:
    """The lines of L0, compiled once more with them, if that makes the same code."""
    name = "kvm_vmx.l0.hyperv"
    with tempfile.TemporaryDirectory() as folder:
        made = os.path.join(folder, "twin.so")
        subprocess.run([
            *(word for name in ("LDSHARED", "CFLAGS")
              for word in shlex.split(sysconfig.get_config_var(name))),
            "-fPIC", *(f"-D{key}={value}" for key, value in building.macros()),
            *(f"-D{key}={value}" for key, value in building.abi()), "-Iinclude", "-I.",
            f"-I{sysconfig.get_path('include')}", "build/cython/kvm_vmx/l0/hyperv.c",
            *(flag for flag in building.flags(name) if flag != "-g0"), "-g", "-w", "-o", made],
            cwd=ROOT, check=True)
        if code(made) != code(path):
            raise NoLines("other code than the module's: build in place")
        return LineTable(made)


def code(path: str) -> bytes:
    """The text of a module."""
    image = pathlib.Path(path).read_bytes()
    text = sections(image)[".text"]
    return image[text.offset:text.offset + text.size]


HEADS = {}
HEAD = re.compile(r"^(?:cdef|cpdef|def|static|#define)\b.*?(\w+)\("
                  r"|^\s+(?:cdef|cpdef|def) .*?(\w+)\(")


def function_at(file: str, line: int) -> str:
    """The function of a file that a line is of."""
    if file not in HEADS:
        text = (ROOT / file).read_text().split("\n") if (ROOT / file).is_file() else []
        HEADS[file] = [(n, hit[1] or hit[2]) for n, row in enumerate(text, 1)
                       if (hit := HEAD.match(row))]
    return next((name for n, name in reversed(HEADS[file]) if n <= line), "?")


def machine_of(insn: str):
    """A machine that runs a CPUID loop, its module and its vCPU."""
    machine = Machine(cpus=1, insn=insn)
    kvm = machine.insmod(enlightened_vmcs=insn == "call")
    vcpu = kvm.create_vm(CPUID_LOOP).create_vcpu(cpu=0)
    vcpu.run(exits=100)
    return machine, kvm, vcpu


def read(insn: str):
    """VMREAD of a field by the port's accessor, on a processor that has no eVMCS."""
    def prepare():
        machine = Machine(cpus=1, insn=insn)
        kvm = machine.insmod(enlightened_vmcs=False)
        vcpu = kvm.create_vm(CPUID_LOOP).create_vcpu(cpu=0)
        vcpu.run(exits=100)
        kept = machine, kvm, vcpu
        function = kvm.port.vmcs_readl

        def call():
            with machine.cpu(0):
                kept and function(0x681E)
        return call
    return prepare


def at_accessor(room: str, where: str) -> bool:
    """Whether a place is the port's accessor."""
    return where.endswith(":call_vmcs_readl")


def back_in_machine(room: str, where: str) -> bool:
    """Whether the caller of L1 has its answer."""
    return room == "machine"


def entering():
    """A run of a few exits under eVMCS, of which one write and the next entry are the walk."""
    kept = machine_of("call")
    return lambda: kept[2].run(exits=3)


def enter_walk() -> Walk:
    """From L1's write of RIP, behind an exit that moved it, to L1's side of the next exit."""
    seen = set()

    def begin(room, where):
        seen.add(where)
        return "cpuid.pyx:kvm_emulate_cpuid" in seen and where == "vmx.pyx:vmcs_writel"

    def end(room, where):
        seen.add(room)
        return "l0/guest" in seen and where == "vmx.pyx:vmx_complete_atomic_exit"
    return compiled_walk(entering, begin, end)


def command(*arguments):
    """The walk of a command of kvm-vmx, its table in a file of no account."""
    from kvm_vmx import cli

    with tempfile.TemporaryFile("w") as nowhere:
        kept, sys.stdout = sys.stdout, nowhere
        try:
            cli.main([*arguments])      # what is imported at the first time is no hop
            room = {"lesson": "lessons"}.get(arguments[0], arguments[0])
            return python_walk(lambda: cli.main([*arguments]),
                               (f"kvm_vmx/{room}/command.py", "execute"))
        finally:
            sys.stdout = kept


WALKS = {
    "read": ("VMREAD by call", lambda: compiled_walk(read("call"), at_accessor, back_in_machine)),
    "trap": ("VMREAD by trap", lambda: compiled_walk(read("trap"), at_accessor, back_in_machine)),
    "enter": ("eVMCS write and the next entry", enter_walk),
    "run": ("`run` from command to table", lambda: command("run", "--exits", "50", "--quiet")),
    "lesson": ("a lesson to its page", lambda: command(
        "lesson", "exit", "--html", os.devnull, "--quiet")),
}


def main(names) -> None:
    """Record and print."""
    if unknown := [name for name in names if name not in WALKS]:
        sys.exit(f"no walk {', '.join(unknown)}: {' '.join(WALKS)}")
    for name in names or WALKS:
        title, record = WALKS[name]
        print(record().told(title), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
