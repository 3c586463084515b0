# SPDX-License-Identifier: GPL-2.0-only
"""The VM-entry checks, once more: written from the processor manual (volume 3, chapter "VM
entries"), to judge the ones that L0 has. Nothing here knows how L0 is built.

judge() takes a VMCS as {field name: value} and says how an entry with it ends: "CTL7" or "HST8"
(VMfail with that error), "GST" or "GST/q" (exit 33 with its qualification), "MSR/n" (exit 34 at
the nth entry of the list), "ENTER".
"""

import dataclasses
from collections.abc import Callable

NONE = (1 << 64) - 1
SEGMENTS = ("CS", "SS", "DS", "ES", "FS", "GS")
DATA_SEGMENTS = ("DS", "ES", "FS", "GS")
PUSHES_ERROR_CODE = {8, 10, 11, 12, 13, 14, 17}
EXTERNAL, NMI, EXCEPTION, SOFTWARE, PRIVILEGED, SOFTWARE_EXCEPTION, OTHER = 0, 2, 3, 4, 5, 6, 7


@dataclasses.dataclass
class Processor:
    """What of the processor the checks depend on."""

    pin: tuple[int, int]
    proc: tuple[int, int]
    secondary: tuple[int, int]
    exit: tuple[int, int]
    entry: tuple[int, int]
    cr0: tuple[int, int]
    cr4: tuple[int, int]
    maxphyaddr: int
    cr3_targets: int
    zero_length: bool
    activity: frozenset
    revision: int
    ept_memory_types: frozenset = frozenset({0, 6})
    vm_functions: int = 0
    perf_counters: int = 0
    long_mode: bool = True
    current_vmcs: int = NONE
    longest_list: int = 512
    read: Callable[[int, int], int | None] = lambda address, size: None
    loadable: Callable[[int, int], bool] = lambda index, value: False


class Vmcs:
    """Fields by attribute, 0 where nothing was written; single bits by name of their control."""

    def __init__(self, fields, processor):
        self.fields, self.cpu = fields, processor

    def __getattr__(self, name):
        return self.fields.get(name.upper(), 0)

    def pin(self, bit):
        return self.pin_based_vm_exec_control >> bit & 1

    def proc(self, bit):
        return self.cpu_based_vm_exec_control >> bit & 1

    def secondary(self, bit):
        return self.proc(31) and self.secondary_vm_exec_control >> bit & 1

    def exit(self, bit):
        return self.vm_exit_controls >> bit & 1

    def entry(self, bit):
        return self.vm_entry_controls >> bit & 1

    @property
    def event(self):
        """(type, vector) of the event to inject, or None."""
        info = self.vm_entry_intr_info_field
        return (info >> 8 & 7, info & 0xFF) if info >> 31 else None

    @property
    def ia32e(self):
        return self.entry(9)

    @property
    def unrestricted(self):
        return self.secondary(7)

    @property
    def virtual_8086(self):
        return self.guest_rflags >> 17 & 1


def canonical(address):
    return address >> 47 in (0, 0x1FFFF)


def fixed(value, bounds):
    return value & bounds[0] == bounds[0] and not value & ~bounds[1]


def physical(v, address, low_bits=12):
    """An address of the processor's width whose low bits are 0."""
    return address >> v.cpu.maxphyaddr == 0 and address & (1 << low_bits) - 1 == 0


def pat(value):
    return all(byte in (0, 1, 4, 5, 6, 7) for byte in value.to_bytes(8, "little"))


def efer(value, long_mode, paging=True):
    """Only SCE, LME, LMA and NXE; LMA as the mode, LME too where there is paging."""
    return (not value & ~0xD01 and value >> 10 & 1 == long_mode
            and (not paging or value >> 8 & 1 == long_mode))


def msr_area(v, count, address):
    last = address + count * 16 - 1
    return count == 0 or (physical(v, address, 4) and last >> v.cpu.maxphyaddr == 0)


# Each function from here on is a generator of truths: control fields first.

def execution_controls(v):
    yield fixed(v.pin_based_vm_exec_control, v.cpu.pin)
    yield fixed(v.cpu_based_vm_exec_control, v.cpu.proc)
    yield not v.proc(31) or fixed(v.secondary_vm_exec_control, v.cpu.secondary)
    yield v.cr3_target_count <= v.cpu.cr3_targets
    yield not v.proc(25) or (physical(v, v.io_bitmap_a) and physical(v, v.io_bitmap_b))
    yield not v.proc(28) or physical(v, v.msr_bitmap)
    yield (v.pin(3) or not v.pin(5)) and (v.pin(5) or not v.proc(22))
    yield not v.secondary(5) or v.virtual_processor_id != 0
    if v.secondary(14):
        yield physical(v, v.vmread_bitmap) and physical(v, v.vmwrite_bitmap)
    yield not v.secondary(25) or v.tsc_multiplier != 0


def apic_controls(v):
    accesses, x2apic, registers, delivery = (v.secondary(bit) for bit in (0, 4, 8, 9))
    if v.proc(21):
        yield physical(v, v.virtual_apic_page_addr)
        yield delivery or v.tpr_threshold >> 4 == 0
        if not delivery and not accesses:
            task_priority = v.cpu.read(v.virtual_apic_page_addr + 0x80, 1) or 0
            yield v.tpr_threshold & 15 <= task_priority >> 4
    else:
        yield not (x2apic or registers or delivery)
    yield not accesses or (physical(v, v.apic_access_addr) and not x2apic)
    yield not delivery or v.pin(0)
    if v.pin(7):
        yield delivery and v.exit(15) and v.posted_intr_nv >> 8 == 0
        yield physical(v, v.posted_intr_desc_addr, 6)


def ept_controls(v):
    ept = v.secondary(1)
    if ept:
        pointer = v.ept_pointer
        yield pointer & 7 in v.cpu.ept_memory_types and pointer >> 3 & 7 == 3
        yield pointer >> 7 & 31 == 0 and pointer >> v.cpu.maxphyaddr == 0
    # unrestricted guest, and execution by mode
    yield ept or not (v.secondary(7) or v.secondary(22))
    if v.secondary(17):
        yield ept and physical(v, v.pml_address)
    if v.secondary(13):
        yield not v.vm_function_control & ~v.cpu.vm_functions
        if v.vm_function_control & 1:
            yield ept and physical(v, v.eptp_list_address)


def exit_controls(v):
    yield fixed(v.vm_exit_controls, v.cpu.exit)
    yield v.pin(6) or not v.exit(22)
    yield msr_area(v, v.vm_exit_msr_store_count, v.vm_exit_msr_store_addr)
    yield msr_area(v, v.vm_exit_msr_load_count, v.vm_exit_msr_load_addr)


def entry_controls(v):
    yield fixed(v.vm_entry_controls, v.cpu.entry)
    # into system-management mode, or out of its dual-monitor treatment: not from outside
    yield not v.entry(10) and not v.entry(11)
    yield msr_area(v, v.vm_entry_msr_load_count, v.vm_entry_msr_load_addr)
    if v.event:
        yield from injected_event(v, *v.event)


def injected_event(v, kind, vector):
    info = v.vm_entry_intr_info_field
    yield kind != 1 and not info >> 12 & 0x7FFFF
    yield kind != OTHER or (vector == 0 and v.cpu.proc[1] >> 27 & 1)
    yield kind != NMI or vector == 2
    yield kind != EXCEPTION or vector <= 31
    protected = not v.unrestricted or v.guest_cr0 & 1
    pushes = protected and kind == EXCEPTION and vector in PUSHES_ERROR_CODE
    yield info >> 11 & 1 == bool(pushes)
    yield not info >> 11 & 1 or v.vm_entry_exception_error_code >> 16 == 0
    if kind in (SOFTWARE, PRIVILEGED, SOFTWARE_EXCEPTION):
        length = v.vm_entry_instruction_len
        yield (0 if v.cpu.zero_length else 1) <= length <= 15


def host_registers(v):
    yield fixed(v.host_cr0, v.cpu.cr0) and fixed(v.host_cr4, v.cpu.cr4)
    yield v.host_cr3 >> v.cpu.maxphyaddr == 0
    yield canonical(v.host_ia32_sysenter_esp) and canonical(v.host_ia32_sysenter_eip)
    yield not v.exit(12) or not v.host_ia32_perf_global_ctrl & ~v.cpu.perf_counters
    yield not v.exit(19) or pat(v.host_ia32_pat)
    yield not v.exit(21) or efer(v.host_ia32_efer, v.exit(9))


def host_segments(v):
    for name in (*SEGMENTS, "TR"):
        yield not v.fields.get(f"HOST_{name}_SELECTOR", 0) & 7
    yield v.host_cs_selector and v.host_tr_selector
    yield v.exit(9) or v.host_ss_selector
    for name in ("FS", "GS", "TR", "GDTR", "IDTR"):
        yield canonical(v.fields.get(f"HOST_{name}_BASE", 0))


def host_mode(v):
    yield v.exit(9) == v.cpu.long_mode
    if v.exit(9):
        yield v.host_cr4 >> 5 & 1 and canonical(v.host_rip)
    else:
        yield not v.ia32e and not v.host_cr4 >> 17 & 1 and not v.host_rip >> 32


def guest_registers(v):
    must, may = v.cpu.cr0
    yield fixed(v.guest_cr0, (must & ~0x80000001 if v.unrestricted else must, may))
    paging = v.guest_cr0 >> 31 & 1
    yield not paging or v.guest_cr0 & 1
    yield fixed(v.guest_cr4, v.cpu.cr4)
    if v.ia32e:
        yield paging and v.guest_cr4 >> 5 & 1
    else:
        yield not v.guest_cr4 >> 17 & 1
    yield v.guest_cr3 >> v.cpu.maxphyaddr == 0
    if v.entry(2):
        # bits 5:2, 13 and 63:16 of the debug control are reserved
        yield not v.guest_ia32_debugctl & ~0xDFC3 and not v.guest_dr7 >> 32
    yield canonical(v.guest_sysenter_esp) and canonical(v.guest_sysenter_eip)
    yield not v.entry(13) or not v.guest_ia32_perf_global_ctrl & ~v.cpu.perf_counters
    yield not v.entry(14) or pat(v.guest_ia32_pat)
    yield not v.entry(15) or efer(v.guest_ia32_efer, v.ia32e, paging)
    yield not v.entry(16) or (canonical(v.guest_bndcfgs) and not v.guest_bndcfgs & 0xFFC)


class Segment:
    """A segment register of the guest, its access rights taken apart."""

    def __init__(self, v, name):
        for part in ("selector", "base", "limit"):
            setattr(self, part, v.fields.get(f"GUEST_{name}_{part.upper()}", 0))
        self.rights = v.fields.get(f"GUEST_{name}_AR_BYTES", 0)
        self.kind, self.s, self.dpl = self.rights & 15, self.rights >> 4 & 1, self.rights >> 5 & 3
        self.p, self.long, self.big = (self.rights >> bit & 1 for bit in (7, 13, 14))
        self.usable = not self.rights >> 16 & 1
        self.rpl, self.local = self.selector & 3, self.selector >> 2 & 1

    def sound(self):
        """Present, no reserved bit, a limit that the granularity can express."""
        granular = self.rights >> 15 & 1
        return (self.p and not self.rights & 0xFFFE0F00
                and (not granular or self.limit & 0xFFF == 0xFFF)
                and (granular or self.limit >> 20 == 0))


def guest_segments(v):
    segment = {name: Segment(v, name) for name in (*SEGMENTS, "TR", "LDTR")}
    cs, ss, tr, ldtr = (segment[name] for name in ("CS", "SS", "TR", "LDTR"))
    for name in ("TR", "FS", "GS"):
        yield canonical(segment[name].base)
    yield cs.base >> 32 == 0
    yield not tr.local and tr.usable and not tr.s and tr.sound()
    yield tr.kind == 11 or (tr.kind == 3 and not v.ia32e)
    if ldtr.usable:
        yield not ldtr.local and canonical(ldtr.base) and ldtr.sound()
        yield ldtr.kind == 2 and not ldtr.s
    if v.virtual_8086:
        for name in SEGMENTS:
            found = segment[name]
            yield (found.base, found.limit, found.rights) == (found.selector << 4, 0xFFFF, 0xF3)
        return
    yield cs.s and cs.sound() and not (v.ia32e and cs.long and cs.big)
    yield code_level(v, cs, ss)
    yield from stack_segment(v, cs, ss)
    for name in ("DS", "ES"):
        yield not segment[name].usable or segment[name].base >> 32 == 0
    for name in DATA_SEGMENTS:
        yield from data_segment(v, segment[name])


def code_level(v, cs, ss):
    if cs.kind in (9, 11):
        return cs.dpl == ss.dpl
    if cs.kind in (13, 15):
        return cs.dpl <= ss.dpl
    return cs.kind == 3 and v.unrestricted and cs.dpl == 0


def stack_segment(v, cs, ss):
    yield v.unrestricted or (ss.rpl == cs.rpl and ss.dpl == ss.rpl)
    yield ss.dpl == 0 or (cs.kind != 3 and v.guest_cr0 & 1)
    if ss.usable:
        yield ss.kind in (3, 7) and ss.s and ss.sound() and ss.base >> 32 == 0


def data_segment(v, found):
    if found.usable:
        yield found.s and found.sound() and found.kind & 1
        yield not found.kind & 8 or found.kind & 2
        yield v.unrestricted or found.kind > 11 or found.dpl >= found.rpl


def guest_flow(v):
    for name in ("GDTR", "IDTR"):
        yield canonical(v.fields.get(f"GUEST_{name}_BASE", 0))
        yield v.fields.get(f"GUEST_{name}_LIMIT", 0) >> 16 == 0
    if v.ia32e and v.guest_cs_ar_bytes >> 13 & 1:
        yield v.guest_rip >> 48 in (0, 0xFFFF)
    else:
        yield v.guest_rip >> 32 == 0
    flags = v.guest_rflags
    yield flags >> 22 == 0 and not flags & 0x8028 and flags & 2
    yield not v.virtual_8086 or (not v.ia32e and v.guest_cr0 & 1)
    yield not v.event or v.event[0] != EXTERNAL or flags >> 9 & 1


def guest_activity(v):
    state, blocking = v.guest_activity_state, v.guest_interruptibility_info
    sti, mov_ss = blocking & 1, blocking >> 1 & 1
    yield state == 0 or state in v.cpu.activity
    yield state != 1 or v.guest_ss_ar_bytes >> 5 & 3 == 0
    yield state == 0 or not (sti or mov_ss)
    if v.event and state:
        wakes = {(NMI, 2), (EXCEPTION, 18)}
        if state == 1:
            wakes |= {(EXCEPTION, 1), (OTHER, 0)} | {(EXTERNAL, n) for n in range(256)}
        yield v.event in wakes and state != 3
    # bit 4 is for enclaves, bit 2 for system-management mode
    yield not blocking & ~0xB and not (sti and mov_ss)
    yield not sti or v.guest_rflags >> 9 & 1
    if v.event:
        yield v.event[0] != EXTERNAL or not (sti or mov_ss)
        yield v.event[0] != NMI or not (mov_ss or (v.pin(5) and blocking >> 3 & 1))
    pending = v.guest_pending_dbg_exceptions
    # B0 to B3, an enabled breakpoint, single step; bit 16 needs transactional memory
    yield not pending & ~0x500F
    if sti or mov_ss or state == 1:
        steps = v.guest_rflags >> 8 & 1 and not v.guest_ia32_debugctl >> 1 & 1
        yield pending >> 14 & 1 == bool(steps)


def link_pointer(v):
    link = v.vmcs_link_pointer
    if link != NONE:
        yield physical(v, link) and link != v.cpu.current_vmcs
        yield v.cpu.read(link, 4) == v.cpu.revision | (1 << 31 if v.secondary(14) else 0)


def page_directory_pointers(v):
    if v.ia32e or not v.guest_cr0 >> 31 & 1 or not v.guest_cr4 >> 5 & 1:
        return
    for n in range(4):
        if v.secondary(1):
            entry = v.fields.get(f"GUEST_PDPTR{n}", 0)
        else:
            entry = v.cpu.read((v.guest_cr3 & 0xFFFFFFE0) + 8 * n, 8)
        yield entry is not None and (not entry & 1 or (
            not entry & 0x1E6 and entry >> v.cpu.maxphyaddr == 0))


def msr_loads(v):
    """The number of the first entry of the list that cannot be loaded, or 0."""
    for n in range(min(v.vm_entry_msr_load_count, v.cpu.longest_list + 1)):
        at = v.vm_entry_msr_load_addr + 16 * n
        head, value = v.cpu.read(at, 8), v.cpu.read(at + 8, 8)
        if n >= v.cpu.longest_list or head is None or value is None or head >> 32:
            return n + 1
        index = head & 0xFFFFFFFF
        if index in (0xC0000100, 0xC0000101) or not v.cpu.loadable(index, value):
            return n + 1
    return 0


# What is checked in turn, and what a failure is called.
STAGES = (
    ("CTL7", (execution_controls, apic_controls, ept_controls, exit_controls, entry_controls)),
    ("HST8", (host_registers, host_segments, host_mode)),
    ("GST", (guest_registers, guest_segments, guest_flow, guest_activity)),
    ("GST/4", (link_pointer,)),
    ("GST/2", (page_directory_pointers,)),
)


def judge(fields, processor):
    """How an entry with these fields ends."""
    v = Vmcs(fields, processor)
    for name, checks in STAGES:
        if not all(truth for check in checks for truth in check(v)):
            return name
    bad = msr_loads(v)
    return f"MSR/{bad}" if bad else "ENTER"
