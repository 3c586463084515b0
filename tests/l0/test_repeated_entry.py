# SPDX-License-Identifier: GPL-2.0-only
"""An entry that repeats the last one ends as it does in full, whatever L1 has done between."""

import random

import pytest
from kvm_vmx.machine.guests import CPUID_LOOP
from world import (
    ASSIST, BASE, EVMCS, EVMCS_B, FIELDS, LAYOUT, TABLE, VMCS_A, VMCS_B, VMXON, World,
    config_a_msrs,
)

CODE = BASE[FIELDS["GUEST_RIP"]]
# the loads and stores of MSRs, and VPID: by these an entry may repeat the last one
CHANGES = {
    "vm_entry_controls": BASE[FIELDS["VM_ENTRY_CONTROLS"]] | 0xC004,
    "vm_exit_controls": BASE[FIELDS["VM_EXIT_CONTROLS"]] & ~0x1000 | 0x3C0004,
    "secondary_vm_exec_control": 0x20, "virtual_processor_id": 1,
}
NAMES = {member: encoding for encoding, member, _ in TABLE}
PAT, EFER, DEBUGCTL, SYSENTER_ESP, ASSIST_MSR = 0x277, 0xC0000080, 0x1D9, 0x175, 0x40000073
JMP = CPUID_LOOP[-2:-1]


def loop(rng):
    """A loop with a CPUID: that of the guests, or one of the same and other instructions."""
    mov = bytes([0xB8 + rng.randrange(8)]) + rng.randbytes(4)
    cpuid = CPUID_LOOP[5:7]
    body = rng.choice([
        CPUID_LOOP[:7], mov + cpuid, mov + mov + cpuid, cpuid, b"\x90" + mov + cpuid,
        JMP + b"\x00" + mov + cpuid, JMP + b"\x01\x90" + JMP + b"\x00" + mov + cpuid])
    gap = rng.choice([b"", b"\x90", JMP + b"\x02\x90\x90"])
    return body + gap + JMP + bytes([-len(body + gap) - 2 & 0xFF])


class Pair:
    """Two machines alike, the second of which logs its exits and so makes each entry in full."""

    def __init__(self, enlightened, rng, lints=False):
        self.enlightened, self.rng = enlightened, rng
        self.worlds = [World(msrs=config_a_msrs(), maxphyaddr=46, unfinished=True, lints=lints)
                       for _ in range(2)]
        for world in self.worlds:
            world.cpu.log_exits(1)
            # a CPUID wherever L2 goes astray
            world.guest_code(CPUID_LOOP[5:7] * 0x1000)
            world.memory.write(CODE, CPUID_LOOP)
            if enlightened:
                world.enlighten(**CHANGES)
            else:
                world.plain(**{NAMES[member]: value for member, value in CHANGES.items()})
            world.launched = world.cpu.vmlaunch()
            assert world.launched.ok
        self.worlds[0].cpu.log_exits(0)
        self.go_on()

    def each(self, act):
        """Do one thing to both, with one result."""
        found = [act(world) for world in self.worlds]
        assert found[0] == found[1] or repr(found[0]) == repr(found[1])
        return found[0]

    def get(self, member):
        """A member of the VMCS, by whatever way L1 has to it."""
        if self.enlightened:
            return self.worlds[0].get(EVMCS, member)
        return self.each(lambda world: world.cpu.vmread(FIELDS[NAMES[member]])).value or 0

    def put(self, member, value):
        """Likewise, its clean group dirty."""
        if not self.enlightened:
            return self.each(lambda world: world.cpu.vmwrite(FIELDS[NAMES[member]], value))
        for world in self.worlds:
            world.put(EVMCS, member, value)

    def go_on(self):
        """L1 steps over the CPUID, and promises that all else is as it was."""
        self.put("guest_rip", self.get("guest_rip") + 2 & 2**64 - 1)
        if self.enlightened:
            for world in self.worlds:
                world.set_clean()

    def enter(self, launch=False):
        """One entry of each, which must leave the same behind."""
        self.each(lambda world: world.cpu.vmlaunch() if launch else world.cpu.vmresume())
        self.each(lambda world: world.cpu.counters())
        self.each(lambda world: world.cpu.save())
        self.each(lambda world: world.cpu.registers)
        self.each(lambda world: world.cpu.exit_reasons)
        self.each(lambda world: world.cpu.evmcs_copy)
        self.each(lambda world: [lint.explain() for lint in world.partition.lints()])
        self.each(lambda world: bytes(world.memory.read(ASSIST, 0x4000)))
        self.each(lambda world: bytes(world.memory.read(CODE, 64)))


def behind_a_clean_bit(pair):
    """Bytes of the page that L0 does not read, and may have to write again."""
    member = pair.rng.choice(list(LAYOUT))
    if pair.enlightened and member not in ("guest_rip", "hv_clean_fields"):
        pair.put(member, pair.rng.getrandbits(LAYOUT[member][1] * 8))


def dirty(pair):
    if pair.enlightened:
        bits = pair.rng.choice([0, 1 << pair.rng.randrange(16), 0xFFFF, pair.rng.getrandbits(16)])
        pair.each(lambda world: world.set_clean(bits))


def one_group(pair):
    """A value that an entry may take, in a group that is dirty for it."""
    member, value = pair.rng.choice([
        ("guest_rsp", 0xB000), ("guest_rflags", 0x202), ("guest_dr7", 0x401),
        ("host_rsp", 0x9100), ("host_rip", 0x401000), ("tpr_threshold", 1),
        ("guest_interruptibility_info", 1), ("cr4_read_shadow", 7), ("tpr_threshold", 0),
        ("guest_interruptibility_info", 0), ("guest_ia32_pat", 0x0606060606060606),
        ("host_ia32_pat", 0x0006060606060606), ("guest_ia32_debugctl", 1),
        ("cr3_target_count", 1), ("cr3_target_count", 0), ("vm_entry_intr_info_field", 0x80000202),
        ("virtual_processor_id", 2), ("secondary_vm_exec_control", 0),
        ("secondary_vm_exec_control", 0x20), ("vm_exit_msr_load_addr", 0x7000)])
    pair.put(member, value)
    if pair.enlightened:
        pair.each(lambda world: world.set_clean(0))


def events(pair):
    after = pair.rng.choice([0, 0, 1, 3, 9])
    if pair.rng.randrange(2):
        pair.each(lambda world: world.cpu.nmi(after))
    else:
        pair.each(lambda world: world.cpu.interrupt(0x41, after))


def registers_of_l1(pair):
    act = pair.rng.choice([
        lambda cpu: cpu.wrmsr(PAT, 0x0007010600070106), lambda cpu: cpu.wrmsr(DEBUGCTL, 2),
        lambda cpu: cpu.wrmsr(SYSENTER_ESP, 0x1234), lambda cpu: cpu.wrmsr(EFER, 0x500),
        lambda cpu: cpu.mov_to_cr(3, 0x2000), lambda cpu: cpu.mov_to_cr(4, cpu.cr4 ^ 0x80),
        lambda cpu: setattr(cpu, "dr7", 0x455), lambda cpu: setattr(cpu, "rflags", 0x246),
        lambda cpu: setattr(cpu, "rsp", 0x77), lambda cpu: setattr(cpu, "efer", cpu.efer ^ 1)])
    pair.each(lambda world: act(world.cpu))


def translations(pair):
    kind = pair.rng.randrange(1, 4)
    pair.each(lambda world: world.cpu.invept(2))
    pair.each(lambda world: world.cpu.invvpid(kind, 1, 0))


def code(pair):
    """Other instructions where L2 is, while nothing of the VMCS changes."""
    text = loop(pair.rng)
    for world in pair.worlds:
        world.memory.write(CODE, text)
    pair.put("guest_rip", CODE)


def code_byte(pair):
    at = pair.rng.randrange(5)
    byte = pair.rng.randbytes(1) if at else bytes([0xB8 + pair.rng.randrange(8)])
    for world in pair.worlds:
        world.memory.write(CODE + at, byte)


def elsewhere(pair):
    rip = pair.rng.choice([CODE, CODE + 5, CODE + 7, CODE + 2**32, 2**64 - 1, CODE + 0xFF9])
    pair.put("guest_rip", rip)


def assist(pair):
    act = pair.rng.choice([
        lambda world: world.memory.write(ASSIST + 40, b"\0"),
        lambda world: world.memory.write(ASSIST + 40, b"\1"),
        lambda world: world.memory.write_u64(ASSIST + 48, EVMCS),
        lambda world: world.memory.write_u64(ASSIST + 48, 2**64 - 1),
        lambda world: world.memory.write_u64(ASSIST + 48, EVMCS_B),
        lambda world: world.cpu.wrmsr(ASSIST_MSR, 0),
        lambda world: world.cpu.wrmsr(ASSIST_MSR, (VMCS_B + 0x20000) | 1)])
    pair.each(act)


def vmcs_pointers(pair):
    act = pair.rng.choice([
        lambda world: world.cpu.vmclear(VMCS_A), lambda world: world.cpu.vmclear(EVMCS),
        lambda world: world.cpu.vmptrld(VMCS_A), lambda world: world.cpu.vmptrld(VMCS_B),
        lambda world: world.cpu.vmxoff(),
        lambda world: (world.cpu.vmxoff(), world.cpu.vmxon(VMXON), world.cpu.vmptrld(VMCS_A))])
    pair.each(act)


def processor(pair):
    act = pair.rng.choice([
        lambda cpu: setattr(cpu, "cpl", 3), lambda cpu: setattr(cpu, "mov_ss_shadow", True),
        lambda cpu: cpu.restore(cpu.save())])
    pair.each(lambda world: act(world.cpu))


def watched_pages(pair):
    """What a lint looks at besides the fields."""
    place = pair.rng.choice([ASSIST + 4, ASSIST + 0x20, ASSIST + 0x24, ASSIST + 0x29, EVMCS,
                             EVMCS + 0x130, EVMCS + LAYOUT["hv_clean_fields"][0] + 2])
    value = bytes([2 if place == EVMCS else pair.rng.randrange(3)])
    pair.each(lambda world: world.memory.write(place, value))


def memory(pair):
    page = pair.rng.choice([ASSIST, EVMCS, CODE])
    pair.each(lambda world: world.memory.unback(page))
    pair.each(lambda world: world.cpu.vmresume())
    pair.each(lambda world: world.memory.back(page))


BETWEEN = [behind_a_clean_bit, dirty, one_group, events, registers_of_l1, translations, code,
           code_byte, elsewhere, assist, vmcs_pointers, processor, watched_pages, memory]


@pytest.mark.parametrize("lints", [False, True], ids=["alone", "watched"])
@pytest.mark.parametrize("enlightened", [False, True])
@pytest.mark.parametrize("between", BETWEEN, ids=lambda act: act.__name__)
def test_ends_as_in_full(between, enlightened, lints, soak):
    """And where somebody watches is told the same."""
    rng = random.Random(f"{between.__name__} {enlightened}")
    for _ in range((500 if lints else 1000) if soak else 4 if lints else 8):
        pair = Pair(enlightened, rng, lints)
        for _ in range(4):
            # so many that the short way is open
            for _ in range(rng.choice([1, 3, 4])):
                pair.enter()
                if pair.get("vm_exit_reason") != 10:
                    break
                pair.go_on()
            between(pair)
            pair.enter(launch=rng.randrange(8) == 0)


@pytest.mark.parametrize("enlightened", [False, True])
def test_rows_up_to_the_end_of_a_page(enlightened):
    """What stands behind the last CPUID that is in one page with its eight bytes."""
    pair = Pair(enlightened, random.Random(5))
    pair.put("guest_rip", CODE + 0xFEA)
    for _ in range(12):
        pair.enter()
        assert pair.get("vm_exit_reason") == 10
        pair.go_on()
