# SPDX-License-Identifier: GPL-2.0-only
"""The steps of a `stale` record: by the rules alone, and again on a machine of the test's own."""

import itertools

import rules

from kvm_vmx import Machine
from kvm_vmx.lessons import witness
from kvm_vmx.machine.cpu import Cpu

# L0 reads the enlightened MSR bitmap with any of these groups (K11).
BITMAP_BITS = 0x1E
NESTED = {0x4000000A: (0x101 | 1 << 19, 0, 0, 0)}


class Model:
    """L1's page, L0's copy and the clean bits, by the rules; fields are a record's."""

    def __init__(self, case, victim, first, wrong_bit):
        self.case, self.victim, self.wrong_bit = case, victim, wrong_bit
        self.page, self.copy = dict(first), {}
        self.clean, self.fresh, self.half, self.entries = 0, True, False, 0

    def mask(self, name):
        return rules.MASKS[name] if name in rules.MASKS else 1 << rules.BIT_OF["MSR_BITMAP"]

    def read_again(self, name):
        """Does the next entry read a field, or the bitmap, again?"""
        bits = self.mask(name) if name in rules.MASKS else BITMAP_BITS
        return self.fresh or bool(~self.clean & bits)

    def step(self, do, name, value):
        """One step but an entry; value is what a store puts into the page."""
        if do == "move":
            self.fresh = True
            return
        stores = do != "clear" and (do != "store" or self.half)
        if stores and name in self.page:
            self.page[name] = value
        if do == "clear" or do == "write" and name in rules.MASKS:
            self.clean &= ~self.mask(name)
        if do == "wrong" and self.case == "group":
            self.clean &= ~(1 << self.wrong_bit)
        self.half = do == "clear" or self.half and do != "store"

    def enter(self):
        """The fields that the guest sees as they are no more."""
        self.entries += 1
        for name in self.page:
            if self.read_again(name):
                self.copy[name] = self.page[name]
        stale = [name for name in self.page if self.copy[name] != self.page[name]]
        self.left = dict(self.page)
        for name in self.page:
            if name in rules.TABLE and rules.TABLE[name]["evmcs_field"] in rules.WRITTEN_BACK:
                self.page[name] = self.copy[name]
        self.clean, self.fresh = rules.ALL_CLEAN, False
        return stale


def model_fails(plan_like, letters) -> bool:
    """Would a program break, by the rules? Every write brings a new value, the bitmap's turns."""
    case, victim, hides, other, wrong_bit = plan_like
    watched = {name: 0 for name in (victim, other)}
    model, values = Model(case, victim, watched, wrong_bit), itertools.count(1)
    for letter in letters:
        if letter == "enter":
            if model.enter():
                return True
            continue
        if letter in ("wrong", "clear", "store"):
            value = next(values)
            if case == "bitmap":
                value = 1 - model.page[victim]
            model.step(letter, victim, value)
        elif letter == "move":
            model.step("move", "", None)
        else:
            model.step("write", letter, next(values))
    return False


def l0_sets_all() -> bool:
    """Are all clean bits 1 behind a VMRESUME, with no code of KVM's behind it?"""
    with Machine(cpus=1) as machine:
        vcpu = machine.insmod().create_vm(code=bytes.fromhex("0fa2ebfc")).create_vcpu()
        vcpu.run(exits=1)
        at = vcpu.vmcs_gpa + rules.CLEAN_FIELDS
        machine.memory.write(at, (1 << 14).to_bytes(4, "little"))
        assert machine.cpu(0).vmresume().ok
        return int.from_bytes(machine.memory.read(at, 4), "little") == rules.ALL_CLEAN


def an_l0(monkeypatch, sets: bool) -> None:
    """From here on a VMRESUME by hand leaves the clean bits as they are, or sets them all."""
    executed = Cpu.vmresume

    def vmresume(cpu, *arguments):
        at = cpu.active_evmcs + rules.CLEAN_FIELDS
        bits = rules.ALL_CLEAN.to_bytes(4, "little") if sets else cpu.machine.memory.read(at, 4)
        outcome = executed(cpu, *arguments)
        cpu.machine.memory.write(at, bits)
        return outcome

    monkeypatch.setattr(Cpu, "vmresume", vmresume)


class Replay:
    """A record's steps on a machine: memory, accessors, VM entries; nothing of the lesson's."""

    def __init__(self, machine, record):
        self.machine, self.record = machine, record
        self.victim = record.values["field"]
        self.probe = int(self.victim.split()[1], 16) if " " in self.victim else 0x10
        kvm = machine.insmod()
        self.port = kvm.port
        self.vm = kvm.create_vm(code=witness.code(self.probe), memory=64 << 10)
        self.vcpu = self.vm.create_vcpu(cpu=1)
        self.vcpu.run(exits=1)
        self.move()

    @property
    def cpu(self):
        return self.machine.cpu(self.vcpu.cpu)

    def word(self, gpa, size):
        return int.from_bytes(self.machine.memory.read(gpa, size), "little")

    @property
    def clean(self):
        return self.word(self.vcpu.vmcs_gpa + rules.CLEAN_FIELDS, 4)

    @clean.setter
    def clean(self, bits):
        self.machine.memory.write(self.vcpu.vmcs_gpa + rules.CLEAN_FIELDS,
                                  bits.to_bytes(4, "little"))

    def place(self, name):
        row = rules.TABLE[name]
        return row["offset"], row["size"]

    def bitmap_byte(self):
        return (self.word(self.vcpu.vmcs_gpa + self.place("MSR_BITMAP")[0], 8)
                + (0x400 if self.probe >> 31 else 0) + (self.probe & 0x1FFF) // 8)

    def in_page(self, name):
        if name not in rules.TABLE:
            return bool(self.word(self.bitmap_byte(), 1) >> (self.probe & 7) & 1)
        offset, size = self.place(name)
        return self.word(self.vcpu.vmcs_gpa + offset, size)

    def in_copy(self, name):
        if name not in rules.TABLE:
            return self.cpu.msr_exits(self.probe)
        offset, size = self.place(name)
        return int.from_bytes(self.cpu.evmcs_copy[offset:offset + size], "little")

    def seen(self, name):
        if name not in rules.TABLE:
            return self.in_page("VM_EXIT_REASON") == 31
        at = witness.REPORT + 8 * list(witness.LOOKS).index(name)
        return int.from_bytes(self.vm.memory.read(at, 8), "little")

    def accessor(self, name, value):
        encoding = rules.ENCODINGS[name]
        kind = ("16", "64", "32", "l")[encoding >> 13 & 3]
        with self.cpu:
            if value is None:
                value = getattr(self.port, f"vmcs_read{kind}")(encoding)
            getattr(self.port, f"vmcs_write{kind}")(encoding, value)

    def store(self, name, value):
        offset, size = self.place(name)
        self.machine.memory.write(self.vcpu.vmcs_gpa + offset, value.to_bytes(size, "little"))

    def move(self):
        self.vcpu.cpu ^= 1
        self.vcpu.vmcs["GUEST_RIP"]
        self.fresh = True

    def do(self, step):
        """One step but an entry."""
        do, name = step["do"], step["field"]
        value, before = step["page"].get(name), self.clean
        if do == "move":
            self.move()
        elif do == "write":
            self.accessor(name, value)
        elif do == "clear":
            self.clean = before & ~rules.MASKS[name]
        elif name not in rules.TABLE:
            if self.in_page(name) != value:
                at = self.bitmap_byte()
                self.machine.memory.write(at, bytes([self.word(at, 1) ^ 1 << (self.probe & 7)]))
        else:
            self.store(name, value)
            if self.record.case == "group":
                self.clean = before & ~(1 << self.record.given["wrong_bit"])

    def enter(self):
        """One round of the guest: {field: (page at the entry, L0's copy, what the guest saw)}."""
        pages = {name: self.in_page(name) for name in self.record.given["first"]}
        if self.fresh:
            self.vcpu.regs["rip"] = witness.START
            self.vcpu.run(exits=1)
        else:
            self.accessor("GUEST_RIP", witness.START)
            assert self.cpu.vmresume().ok
            self.clean |= rules.ALL_CLEAN
        self.fresh = False
        return {name: (page, self.in_copy(name), self.seen(name)) for name, page in pages.items()}


def replayed(record, **options):
    """What each entry showed, and the machine's lints."""
    entries = []
    with Machine(cpus=2, cpuid=NESTED, **options) as machine:
        replay = Replay(machine, record)
        for step in record.given["steps"]:
            if step["do"] == "enter":
                entries.append(replay.enter())
            else:
                replay.do(step)
        return entries, machine.lints
