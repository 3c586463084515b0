# SPDX-License-Identifier: GPL-2.0-only
"""What port and kernel are made to do alike: a function a scenario, of either kind of machine."""

from collections.abc import Callable
from typing import Any

HLT = "f4"
# (an exit's reason, the guest's code): each leaves by one kind of exit and goes on, or ends there.
GUESTS = {
    "cpuid": "31c0" "0fa2" "b801000000" "0fa2" + HLT,
    "port output": "b041" "66baf803" "ee" + HLT,
    "hlt": HLT,
    "vmcall": "0f01c1" + HLT,
    "kick": "b805000000" "0f01c1" + HLT,
    "rdtsc": "0f31" + HLT,
    "read cr": "0f20c0" "0f20d8" "0f20e0" + HLT,
    "write cr0": "0f20c0" "0f22c0" + HLT,
    "write cr3": "0f20d8" "0f22d8" + HLT,
    "write cr4": "0f20e0" "0f22e0" + HLT,
    "write cr8": "31c0" "440f22c0" + HLT,
    "clts": "0f06" + HLT,
    "read dr": "0f21f8" + HLT,
    "write dr": "31c0" "0f23c0" "0f23f8" + HLT,
    "read msr": "b9a0010000" "0f32" "b977020000" "0f32" + HLT,
    "write pat": "b977020000" "0f32" "0f30" + HLT,
    "write tsc": "b910000000" "31c0" "31d2" "0f30" + HLT,
    "write sysenter": "b975010000" "31c0" "31d2" "0f30" + HLT,
    "write efer": "b9800000c0" "0f32" "0f30" + HLT,
    "swap gs": "b9020100c0" "31d2" "b800100000" "0f30" "0f01f8" "0f01f8" + HLT,
    "invalid opcode": "0f0b",
    "no handler": "48b80000000000008000" "8b00",
    "wbinvd": "0f09" + HLT,
    "pause": "f390f390" + HLT,
    "invlpg": "0f0138" + HLT,
    "reset": "b0fe" "e664" + HLT,
}
LOOP = bytes.fromhex("31c0" "0fa2" "ebfa")
CODE_SELECTOR = 0x10

Scenario = Callable[[Any, bool], None]


def _load(m: Any, enlightened: bool) -> None:
    m.insmod(enlightened).rmmod()


def _reload(m: Any, enlightened: bool) -> None:
    for mode in (enlightened, not enlightened, enlightened):
        kvm = m.insmod(mode)
        kvm.create_vm(LOOP).create_vcpu(0).run(exits=3)
        kvm.rmmod()


def _guest(code: str) -> Scenario:
    def scenario(m: Any, enlightened: bool) -> None:
        kvm = m.insmod(enlightened)
        kvm.create_vm(bytes.fromhex(code)).create_vcpu(0).run(exits=200)
        kvm.rmmod()
    return scenario


def _loop(m: Any, enlightened: bool) -> None:
    kvm = m.insmod(enlightened)
    vcpu = kvm.create_vm(LOOP).create_vcpu(0)
    for exits in (1, 1, 20):
        vcpu.run(exits=exits)
    kvm.rmmod()


def _migrate(m: Any, enlightened: bool) -> None:
    kvm = m.insmod(enlightened)
    vcpu = kvm.create_vm(LOOP).create_vcpu(0)
    for cpu in (0, 1, 0):
        vcpu.cpu = cpu
        vcpu.run(exits=3)
    kvm.rmmod()


def _two_vcpus(m: Any, enlightened: bool) -> None:
    kvm = m.insmod(enlightened)
    vm = kvm.create_vm(LOOP)
    vcpus = [vm.create_vcpu(0), vm.create_vcpu(0)]
    for vcpu in vcpus * 3:
        vcpu.run(exits=2)
    kvm.rmmod()


def _two_vms(m: Any, enlightened: bool) -> None:
    kvm = m.insmod(enlightened)
    vms = [kvm.create_vm(LOOP), kvm.create_vm(LOOP)]
    vcpus = [vms[0].create_vcpu(0), vms[1].create_vcpu(1)]
    for vcpu in vcpus:
        vcpu.run(exits=2)
    vms[0].destroy()
    vcpus[1].run(exits=2)
    kvm.rmmod()


def _hotplug(m: Any, enlightened: bool) -> None:
    kvm = m.insmod(enlightened)
    vcpu = kvm.create_vm(LOOP).create_vcpu(1)
    vcpu.run(exits=2)
    m.offline(1)
    vcpu.cpu = 0
    vcpu.run(exits=2)
    m.online(1)
    vcpu.cpu = 1
    vcpu.run(exits=2)
    kvm.rmmod()


def _registers(m: Any, enlightened: bool) -> None:
    kvm = m.insmod(enlightened)
    vcpu = kvm.create_vm(LOOP).create_vcpu(0)
    vcpu.run(exits=2)
    vcpu.regs.update(rax=7, rbx=vcpu.regs["rbx"], rip=0x1000)
    sregs = vcpu.sregs
    vcpu.sregs = sregs
    vcpu.run(exits=2)
    kvm.rmmod()


def _nmi(m: Any, enlightened: bool) -> None:
    kvm = m.insmod(enlightened)
    vcpu = kvm.create_vm(LOOP).create_vcpu(0)
    vcpu.run(exits=2)
    vcpu.nmi()
    vcpu.run(exits=4)
    kvm.rmmod()


def _window(m: Any, enlightened: bool) -> None:
    """The guest lets no interrupt in at first: user space asks for the window."""
    kvm = m.insmod(enlightened)
    vcpu = kvm.create_vm(bytes.fromhex("31c0" "0fa2" "fb" "90" "90" "0fa2" "ebf6")).create_vcpu(0)
    vcpu.request_interrupt_window = True
    vcpu.run(exits=6)
    vcpu.request_interrupt_window = False
    vcpu.run(exits=2)
    kvm.rmmod()


def _interrupt(m: Any, enlightened: bool) -> None:
    """User space injects an interrupt once the guest takes one; its handler is IRETQ."""
    kvm = m.insmod(enlightened)
    vm = kvm.create_vm(bytes.fromhex("fb" "90" "f4" "90" "f4"))
    vcpu = vm.create_vcpu(0)
    sregs = vcpu.sregs
    sregs["idt"], sregs["gdt"] = {"base": 0x4000, "limit": 0xfff}, {"base": 0x5000, "limit": 0xff}
    vcpu.sregs = sregs
    vm.memory.write(0x5000 + CODE_SELECTOR, (0x00AF9B000000FFFF).to_bytes(8, "little"))
    gate = 0x6000 | CODE_SELECTOR << 16 | 0x8E << 40
    vm.memory.write(0x4000 + 16 * 0x40, gate.to_bytes(8, "little") + bytes(8))
    vm.memory.write(0x6000, bytes.fromhex("48cf"))
    vcpu.run(exits=20)
    vcpu.interrupt(0x40)
    vcpu.run(exits=20)
    kvm.rmmod()


SCENARIOS: dict[str, Scenario] = {
    "load and unload": _load, "reload in the other mode": _reload, "cpuid loop": _loop,
    "migration": _migrate, "two vCPUs on one CPU": _two_vcpus, "two VMs": _two_vms,
    "hotplug": _hotplug, "registers from user space": _registers, "nmi": _nmi,
    "interrupt window": _window, "interrupt": _interrupt,
} | {f"exit: {name}": _guest(code) for name, code in GUESTS.items()}


def _depths(m: Any, enlightened: bool) -> None:
    """The same thread enters from several depths of its stack."""
    kvm = m.insmod(enlightened)
    vcpu = kvm.create_vm(LOOP).create_vcpu(0)
    for depth in (0, 64, 1024, 0):
        vcpu.run(exits=10, stack_depth=depth)
    kvm.rmmod()


def _bitmaps(m: Any, enlightened: bool) -> None:
    """A guest reaches an MSR of its own, another vCPU comes, the first goes on."""
    kvm = m.insmod(enlightened)
    vm = kvm.create_vm(bytes.fromhex(GUESTS["swap gs"][:-2]) + LOOP)
    first = vm.create_vcpu(0)
    first.run(exits=10)
    vm.create_vcpu(0).run(exits=10)
    first.run(exits=10)
    kvm.rmmod()


def _moved_under_another(m: Any, enlightened: bool) -> None:
    """Two vCPUs, and the CPU that both were on goes."""
    kvm = m.insmod(enlightened)
    vm = kvm.create_vm(LOOP)
    vcpus = [vm.create_vcpu(1), vm.create_vcpu(1)]
    for cpu in (1, 0, 1):
        vcpus[0].cpu = cpu
        for vcpu in vcpus:
            vcpu.run(exits=3)
    vm.destroy()
    m.offline(1)
    kvm.rmmod()
    m.online(1)


# Of the kernel alone, each with what its machine is like: what it does here is a weakness.
BITMAP = {"cpuid": {0x4000000A: (1 << 8 | 1 | 1 << 19, 0, 0, 0)}}
ENCLS = {"msrs": {0x48B: (0x000118FE | 1 << 15) << 32}}
MORE: dict[str, tuple[dict[str, Any], Scenario]] = {
    "stack depths": ({}, _depths), "enlightened MSR bitmap": (BITMAP, _bitmaps),
    "a CPU goes from under two vCPUs": ({}, _moved_under_another),
    "ENCLS exiting on offer": (ENCLS, _loop)}
ALL: dict[str, tuple[dict[str, Any], Scenario]] = {
    **{name: ({}, scenario) for name, scenario in SCENARIOS.items()}, **MORE}

CPUS = 2
MODES = {"vmcs": False, "evmcs": True}


def run(machine: Any, name: str, mode: str) -> list[Any]:
    """What L1 executed in a scenario: the trace of a machine that has just booted, or done one."""
    machine.start_trace()
    try:
        SCENARIOS[name](machine, MODES[mode])
    finally:
        machine.stop_trace()
    return list(machine.trace)
