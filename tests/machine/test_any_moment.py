# SPDX-License-Identifier: GPL-2.0-only
"""An exception at any moment: at every bytecode of a call one is raised, once each. After it the
machine closes, and another one boots. A signal handler that raises, and Ctrl-C, strike so."""

import collections
import functools
import gc
import itertools
import random
import re
import sys
import threading

import pytest
from every_call import PARTS, calls_of

from kvm_vmx import Machine, MachineError
from kvm_vmx.machine.guests import CPUID_LOOP
from kvm_vmx.machine.static_keys import StaticKeys

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("frozen")]


class Struck(BaseException):
    """What is raised; no handler of Exception takes it."""


# What is struck: all but what only computes, and reads a file. How often the same bytecode is, in
# loops: what a later turn leaves open an earlier one does, too.
STRUCK = re.compile(r"kvm_vmx/(?!abi/|l0/|words|host|testing|machine/(?:pictures|sites|sections))"
                    r"|/contextlib\.py$")
TURNS = 8


def strike(call, nth):
    """Call, with an exception before its nth bytecode; how many it has where that are fewer, or
    None where it was struck."""
    left, turns = nth, collections.Counter()

    def trace(frame, event, _):
        nonlocal left
        if not STRUCK.search(frame.f_code.co_filename):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            at = frame.f_code, frame.f_lasti
            turns[at] += 1
            left -= turns[at] <= TURNS
            if left == 0:
                sys.settrace(None)
                raise Struck
        return trace

    # what strikes in __del__ goes nowhere, and nobody keeps it
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    sys.settrace(trace)
    try:
        call()
    except Struck:
        pass
    finally:
        sys.settrace(None)
        sys.unraisablehook = hook
    return None if left <= 0 else nth - left


class World:
    """A machine with all that the calls below need."""

    def __init__(self, loaded=True, boot=Machine):
        self.boot = boot
        self.machine = boot(cpus=2)
        self.vcpu = None
        if loaded:
            self.vcpu = self.machine.insmod().create_vm(code=CPUID_LOOP, memory=1 << 16) \
                .create_vcpu()
            # read once a process, and long to read: no strike is wanted there
            assert self.machine.module.port.vmx_get_rflags

    def hotplug(self):
        self.machine.offline(1)
        self.machine.online(1)

    def port(self):
        with self.machine.cpu(0):
            self.vcpu.vm.module.port.vmx_get_rflags(self.vcpu)

    def set_key(self):
        with StaticKeys(self.machine) as keys:
            with self.machine.cpu(0):
                keys.port.true_key_true()


CALLS = {
    "run": lambda world: world.vcpu.run(exits=2),
    "rdmsr": lambda world: world.machine.cpu(1).rdmsr(0x10),
    "set register": lambda world: setattr(world.machine.cpu(1), "rip", 1),
    "vmcs": lambda world: world.vcpu.vmcs["GUEST_RIP"],
    "evmcs": lambda world: world.vcpu.evmcs["GUEST_RIP"],
    "registers": lambda world: world.vcpu.regs.update(rax=1),
    "memory": lambda world: world.vcpu.vm.memory.write(0, b"x"),
    "port": World.port,
    "hotplug": World.hotplug,
    "create": lambda world: world.machine.module.create_vm(code=b"\xf4", memory=1 << 16)
    .create_vcpu(),
    "move page": lambda world: world.vcpu.vm.move_page(0x3000),
    "destroy": lambda world: world.vcpu.vm.destroy(),
    "keys": World.set_key,
    "rmmod": lambda world: world.machine.module.rmmod(),
    "close": lambda world: world.machine.close(),
    "insmod": lambda world: world.machine.insmod(),
    "boot": lambda world: world.machine.close() or world.boot(),
}
# Of every public call, what leaves a machine that another turn would not find as it was.
ENDINGS = {
    "machine.close", "machine.kexec", "machine.reboot", "machine.insmod", "machine.suspend",
    "module.rmmod", "vm.destroy", "vcpu.interrupt", "vcpu.answer", "cpu.vmxoff", "cpu.vmxon",
    "cpu.vmptrld", "cpu.vmclear", "cpu.go_on", "cpu.vmlaunch", "cpu.vmresume", "cpu.restore",
    "cpu.wrmsr", "cpu.interrupt", "cpu.nmi", "vm.map", "vm.create_vcpu"}
# What ends a machine, or begins it, gets one of its own each time.
ONCE = {"destroy", "rmmod", "close", "insmod", "boot", "create", "keys"}
# How many bytecodes lie between two strikes at the longest calls.
SELDOM = {"create": 263, "keys": 179, "boot": 61}


def is_whole(world):
    """Nobody is inside, each CPU can be had by another thread, and the next use works."""
    machine = world.machine
    assert world.boot is not Machine or machine._gate.idle
    assert machine._bound_cpu() is None
    failures = []

    def other():
        try:
            machine.cpu(0).rdmsr(0x10)
            machine.cpu(1).rdmsr(0x10)
            if machine.module is None:
                machine.insmod()
            machine.module.create_vm(code=b"\xf4", memory=1 << 16).destroy()
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join(20)
    assert not thread.is_alive() and failures == []


def ended(world, held):
    """It closes, and what its kernel had of L1's memory is given back before."""
    if not world.machine.is_online(1):
        world.machine.online(1)
    if world.machine.module is not None:
        world.machine.module.rmmod()
    assert world.machine.allocations in held
    world.machine.close()


def is_open(machine):
    try:
        machine.check_open()
    except MachineError:
        return False
    return True


@functools.cache
def held_by(boot):
    """What the kernel of a machine may have with no module in it."""
    with boot(cpus=2) as machine:
        before = machine.allocations
        machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu()
        machine.module.rmmod()
        # a tree's kernel has a pool of pages from then on
        return before, machine.allocations


def broken_off(call, anew, nths, once):
    """How many bytecodes of a call of a world were struck, one after the other, and how many it has
    where one of nths was none of them, else None: each time the machine is whole, or closed. once:
    a world for each."""
    first = anew()
    call(first)          # what is made at the first use, and kept, is no part of it
    for machine in filter(None, (first.machine, Machine.current())):
        machine.close()
    held = held_by(first.boot)
    world, struck, there = anew(), 0, None
    for nth in nths:
        there = strike(lambda: call(world), nth)
        if there is not None:
            break
        struck += 1
        if is_open(world.machine):
            if not world.machine.is_online(1):
                world.machine.online(1)
            if world.machine.cpu(0).stopped:
                world.machine.cpu(0).go_on()
            is_whole(world)
        if once or not is_open(world.machine):
            ended(world, held) if is_open(world.machine) else gc.collect()
            world.machine.close()
            assert not is_open(world.machine)
            world = anew()
    gc.collect()
    ended(world, held) if is_open(world.machine) else world.machine.close()
    with world.boot() as another:
        assert another.insmod().create_vm(code=CPUID_LOOP).create_vcpu().run(exits=3).exits == 3
    return struck, there


@pytest.mark.parametrize("name", CALLS)
def test_a_machine_survives_an_exception_at_any_bytecode(name, face, soak):
    """At each with --soak; else at every 31st of them, which falls anywhere in time, and at
    fewer of those calls that take long."""
    if name == "keys" and not face.is_port:
        pytest.skip("the free-standing keys are the port's")
    if not face.is_port and not soak and name not in ("rmmod", "insmod"):
        pytest.skip("a soak of a tree's")
    boot, step = Machine if face.is_port else face, 1 if soak else SELDOM.get(name, 31)
    struck, _ = broken_off(CALLS[name], lambda: World(name != "insmod", boot),
                           itertools.count(1, step), name in ONCE)
    print(f"{name}: {struck} bytecodes")
    assert struck * step > 10


@pytest.mark.parametrize("part", PARTS)
def test_every_public_call_can_be_broken_off(part, face, soak):
    """Each at each of its bytecodes with --soak, else at one of the first that it has."""
    if not face.is_port and not soak:
        pytest.skip("a soak of a tree's")
    boot, total = Machine if face.is_port else face, 0
    world = World(boot=boot)
    calls = calls_of(world, part)
    world.machine.close()
    for what, call in calls.items():
        # which of them, another one of each call: the nth, counted round where it has fewer
        nth = random.Random(what).randrange(1, 100)
        try:
            struck, there = broken_off(call, lambda: World(boot=boot),
                                       itertools.count(1) if soak else [nth], what in ENDINGS)
            if there and not soak:
                struck, _ = broken_off(call, lambda: World(boot=boot), [1 + nth % there],
                                       what in ENDINGS)
        except BaseException as error:
            error.add_note(f"in {what}")
            if machine := Machine.current():
                machine.close()
            raise
        total += struck
        print(f"{what}: {struck} bytecodes")
    print(f"{part}: {len(calls)} calls, {total} bytecodes")
    # attributes, and what is C's, have no bytecode that an exception could come before
    assert total > len(calls) // 4


def test_one_that_nobody_holds_ends_though_its_del_is_broken_off(face, soak):
    """What is raised in __del__ goes nowhere: what that had left is the collector's."""
    for nth in itertools.count(1, 1 if soak else 17):
        held = [face(cpus=1)]
        there = strike(held.clear, nth)
        gc.collect()
        face(cpus=1).close()
        if there is not None:
            break
    assert nth > 20


def test_what_a_deep_call_began_is_undone():
    """RecursionError strikes where the stack ends: inside whatever is called there."""
    def deep(depth, call):
        return call() if depth == 0 else deep(depth - 1, call)

    world = World()
    before = world.machine.allocations
    room = sys.getrecursionlimit() - len(list(iter_frames()))
    for name in ("run", "rdmsr", "vmcs", "hotplug"):
        for depth in range(room - 40, room):
            try:
                deep(depth, lambda: CALLS[name](world))
            except Exception as error:
                assert "recursion" in str(error)
            if not world.machine.is_online(1):
                world.machine.online(1)
    assert world.machine.allocations == before
    is_whole(world)
    world.machine.close()


def iter_frames():
    """The frames of the caller, innermost first."""
    frame = sys._getframe(1)
    while frame:
        yield frame
        frame = frame.f_back


def test_a_thread_whose_with_was_broken_is_bound_to_no_cpu(soak):
    """At each bytecode with --soak, else at every seventh."""
    world = World()
    for nth in itertools.count(1, 1 if soak else 7):
        if strike(world.port, nth) is not None:
            break
    assert nth > 100
    world.machine.offline(0)
    world.vcpu.cpu = 1
    world.machine.module.rmmod()
    with pytest.raises(MachineError, match="not online"):
        with world.machine.cpu(0):
            world.machine.insmod()
    world.machine.close()
