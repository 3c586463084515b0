# SPDX-License-Identifier: GPL-2.0-only
"""Every public name of a machine, and of what it gives, as a call."""

import contextlib
import functools

from kvm_vmx import MachineError, fields
from kvm_vmx.machine.fields import CLEAN_FIELDS

GUEST_RIP = next(row["offset"] for row in fields() if row["vmcs_field"] == "GUEST_RIP")

# What a method is called with, by the part of a machine that has it; () where it is not here.
ARGUMENTS = {
    "machine": {
        "assist_page": (0,), "assist_page_gpa": (0,), "cpu": (1,), "fail": ("page", 0),
        "is_online": (1,), "offline": (1,), "online": (1,), "perf_guest_events": (0, 0),
        "processor": (0,), "start_trace": (16,)},
    "module": {"create_vm": (b"\xf4", 1 << 16), "parameter": ("enlightened_vmcs",)},
    "vm": {"move_page": (0x3000,), "map": (1 << 16,)},
    "vcpu": {"run": (2,), "trace_exits": (True, 16), "interrupt": (0x33,)},
    "cpu": {
        "cpuid": (1,), "rdmsr": (0x10,), "wrmsr": (0x277, 6), "mov_to_cr": (2, 0),
        "vmxon": (0x5000,), "vmclear": (0x5000,), "vmptrld": (0x5000,), "vmread": ("GUEST_RIP",),
        "vmwrite": ("GUEST_RIP", 0x1000), "invept": (2,), "invvpid": (2,), "hypercall": (1,),
        "interrupt": (0x33,), "signal_sint": (2,), "log_exits": (16,), "msr_exits": (0x10,)},
    "regs": {"get": ("rax",)},
    "evmcs": {"get": ("GUEST_RIP",)},
    "vmcs": {"get": ("GUEST_RIP",)},
    "guest memory": {"read": (0, 8), "write": (0, b"x")},
    "memory": {
        "read": (0x5000, 8), "write": (0x5000, b"x"), "read_u64": (0x5000,),
        "write_u64": (0x5000, 0), "mapped": (0x5000,)},
}


def _answer(world):
    """An IN waits, and finds what it is told."""
    world.vcpu.vm.memory.write(0x1000, b"\xec\xf4")
    world.vcpu.regs["rip"] = 0x1000
    world.vcpu.run()
    world.vcpu.answer(1)


def _go_on(world):
    """L2 stands between two instructions, and goes on."""
    cpu, memory, at = world.machine.cpu(0), world.machine.memory, world.vcpu.vmcs_gpa
    world.vcpu.run(exits=1)
    memory.write_u64(at + GUEST_RIP, 0x1000)
    memory.write(at + CLEAN_FIELDS, bytes(4))
    cpu.vmresume(stop_after=1)
    assert cpu.stopped
    cpu.go_on()


def _insmod(world):
    world.machine.module.rmmod()
    world.machine.insmod()


def _preempt(world):
    """The port refuses it by trap."""
    with contextlib.suppress(MachineError):
        world.machine.preempt(0)


def _vmxoff(world):
    """Where KVM has left VMX operation: it dies of what happens behind its back."""
    world.machine.module.rmmod()
    world.machine.cpu(0).vmxoff()


def _online(world):
    world.machine.offline(1)
    world.machine.online(1)


# What takes more than an argument.
BY_HAND = {
    ("machine", "insmod"): _insmod,
    ("machine", "preempt"): _preempt,
    ("machine", "online"): _online,
    ("vcpu", "answer"): _answer,
    ("cpu", "go_on"): _go_on,
    ("cpu", "vmxoff"): _vmxoff,
    ("cpu", "restore"): lambda world: world.machine.cpu(0).restore(world.machine.cpu(0).save()),
    ("memory", "alloc"): lambda world: world.machine.memory.free(world.machine.memory.alloc()),
}
# Why the others are not here.
LEFT = {
    ("machine", "boot"): "no Machine: a processor of its own, which only the caller holds",
    ("machine", "of_tree"): "Machine(kernel=), which is booted and closed at every turn",
    ("memory", "free"): "with alloc",
    ("memory", "hand_out_by"): "between a machine and its memory, at boot and at close",
    ("memory", "back"): "between L0 and its memory",
    ("memory", "unback"): "between L0 and its memory",
    ("vm", "ioctl"): "what every call of a vCPU's is",
}
SPECIAL = ("__iter__", "__len__", "__repr__", "_repr_html_")
ITEMS = {"regs": "rax", "evmcs": "GUEST_RIP", "vmcs": "GUEST_RIP",
         "guest memory": slice(0, 8), "memory": slice(0x5000, 0x5008)}


# What a user of a machine has in hand, by name.
PARTS = {
    "machine": lambda world: world.machine, "module": lambda world: world.vcpu.vm.module,
    "vm": lambda world: world.vcpu.vm, "vcpu": lambda world: world.vcpu,
    "cpu": lambda world: world.machine.cpu(0), "regs": lambda world: world.vcpu.regs,
    "evmcs": lambda world: world.vcpu.evmcs, "vmcs": lambda world: world.vcpu.vmcs,
    "guest memory": lambda world: world.vcpu.vm.memory,
    "memory": lambda world: world.machine.memory}


def _called(world, part, name, arguments):
    return getattr(PARTS[part](world), name)(*arguments)


def _looked_at(world, part, name):
    return getattr(PARTS[part](world), name)


def _set(world, part, name):
    thing = PARTS[part](world)
    setattr(thing, name, getattr(thing, name))


def _item(world, part):
    return PARTS[part](world)[ITEMS[part]]


def _set_item(world, part):
    thing = PARTS[part](world)
    thing[ITEMS[part]] = thing[ITEMS[part]]


def _is_set(thing, name):
    """May this attribute be set?"""
    try:
        setattr(thing, name, getattr(thing, name))
    except AttributeError:
        return False
    return True


def calls_of(world, part):
    """{what: a function of a world} of every public name that this part of a world has."""
    thing, found = PARTS[part](world), {}
    for name in (*dir(thing), *SPECIAL):
        what = f"{part}.{name}"
        if name[:1] == "_" and name not in SPECIAL or (part, name) in LEFT \
                or not hasattr(thing, name):
            continue
        if (part, name) in BY_HAND:
            found[what] = BY_HAND[part, name]
        elif callable(getattr(thing, name)):
            arguments = ARGUMENTS.get(part, {}).get(name, ())
            found[what] = functools.partial(_called, part=part, name=name, arguments=arguments)
        else:
            found[what] = functools.partial(_looked_at, part=part, name=name)
            if _is_set(thing, name):
                found[f"{what}="] = functools.partial(_set, part=part, name=name)
    if part in ITEMS:
        found[f"{part}[]"] = functools.partial(_item, part=part)
        if hasattr(thing, "__setitem__"):
            found[f"{part}[]="] = functools.partial(_set_item, part=part)
    return found
