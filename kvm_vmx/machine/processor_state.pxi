# SPDX-License-Identifier: GPL-2.0-only
# What a test may set or look at of one L1 processor: its registers, and the events on their way.

cdef u64 word(value) except? 0:
    """An operand as a register holds it: 64 bits, whatever the sign."""
    return <u64>(value & _MASK_64)


cdef void forget_interrupts(l0_vp *vp) noexcept nogil:
    # A CPU that has called another one waits for the answer.
    cdef u32 vector

    for vector in range(256):
        if vector != <u32>RESCHEDULE_VECTOR and vector != <u32>CALL_FUNCTION_VECTOR:
            irq_forget(&vp.cpu, vector)


cdef class ProcessorState:
    """One L1 processor between two of its instructions: its registers, and what comes to it."""

    def __cinit__(self, made=None):
        if made is not _MADE:
            raise TypeError("a Processor comes from Partition.processor(n)")

    @property
    def index(self) -> int:
        """The VP index."""
        return self.vp.cpu.index

    @property
    def mode(self) -> str:
        """In which VMX operation it is: "no VMX", "VMX root" or "VMX non-root"."""
        check_process(self.owner)
        if self.vp.guest_state != L2_NOT_RUNNING:
            return "VMX non-root"
        return "VMX root" if self.vp.in_vmx else "no VMX"

    @property
    def registers(self) -> list[int]:
        """The 16 general registers of L1, by encoding: RAX RCX RDX RBX RSP RBP RSI RDI R8..R15."""
        return [self.vp.gpr[i] for i in range(NR_GPRS)]

    @registers.setter
    def registers(self, values: list[int]):
        # what an element does as it is converted changes no list here
        given = tuple(values)
        if len(given) != NR_GPRS:
            raise ValueError(f"{len(given)} registers: give {NR_GPRS}")
        for i, value in enumerate(given):
            self.vp.gpr[<int>i] = word(value)

    @property
    def rip(self) -> int:
        """The instruction pointer: what the last exit loaded."""
        return self.vp.cpu.rip

    @rip.setter
    def rip(self, value: int):
        self.vp.cpu.rip = word(value)

    @property
    def rsp(self) -> int:
        """The stack pointer: what the last exit loaded."""
        return self.vp.cpu.rsp

    @rsp.setter
    def rsp(self, value: int):
        self.vp.cpu.rsp = word(value)

    @property
    def rflags(self) -> int:
        """RFLAGS, where a VMX instruction leaves its outcome."""
        return self.vp.cpu.rflags

    @rflags.setter
    def rflags(self, value: int):
        self.vp.cpu.rflags = word(value)

    @property
    def cpl(self) -> int:
        """The privilege level, 0 to 3."""
        return self.vp.cpu.cpl

    @cpl.setter
    def cpl(self, value: int):
        if value not in (0, 1, 2, 3):
            raise ValueError(f"privilege level {value!r}: give 0 to 3")
        self.vp.cpu.cpl = value

    @property
    def cr0(self) -> int:
        """CR0, set without the checks of MOV to CR0."""
        return self.vp.cpu.cr0

    @cr0.setter
    def cr0(self, value: int):
        self.vp.cpu.cr0 = word(value)
        self.vp.host_loaded = 0

    @property
    def cr2(self) -> int:
        """CR2, which L1 and L2 share."""
        return self.vp.cpu.cr2

    @cr2.setter
    def cr2(self, value: int):
        self.vp.cpu.cr2 = word(value)

    @property
    def cr3(self) -> int:
        """CR3, set without the checks of MOV to CR3."""
        return self.vp.cpu.cr3

    @cr3.setter
    def cr3(self, value: int):
        self.vp.cpu.cr3 = word(value)
        self.vp.host_loaded = 0

    @property
    def cr8(self) -> int:
        """CR8, which L1 and L2 share: 0 to 15."""
        return self.vp.cpu.cr8

    @cr8.setter
    def cr8(self, value: int):
        if not 0 <= value <= 15:
            raise ValueError(f"CR8 {value!r}: give 0 to 15")
        self.vp.cpu.cr8 = value

    @property
    def dr7(self) -> int:
        """DR7, which an exit sets to 0x400."""
        return self.vp.cpu.dr7

    @dr7.setter
    def dr7(self, value: int):
        if not 0 <= value < 1 << 32:
            raise ValueError(f"DR7 {value!r}: give 32 bits")
        self.vp.cpu.dr7 = value | 0x400

    @property
    def cr4(self) -> int:
        """CR4, set without the checks of MOV to CR4."""
        return self.vp.cpu.cr4

    @cr4.setter
    def cr4(self, value: int):
        self.vp.cpu.cr4 = word(value)
        self.vp.host_loaded = 0

    @property
    def debug_registers(self) -> list[int]:
        """DR0 to DR3 and DR6, which L1 and L2 share."""
        return [self.vp.cpu.dr[i] for i in range(4)] + [self.vp.cpu.dr6]

    @debug_registers.setter
    def debug_registers(self, values: list[int]):
        given = tuple(values)
        if len(given) != 5:
            raise ValueError(f"{len(given)} debug registers: give DR0 to DR3 and DR6")
        for i in range(4):
            self.vp.cpu.dr[i] = word(given[i])
        # the bits that are always 1, and those that are always 0
        self.vp.cpu.dr6 = word(given[4]) & 0xe00f | 0xffff0ff0

    @property
    def efer(self) -> int:
        """IA32_EFER, set without the checks of WRMSR."""
        return self.vp.efer

    @efer.setter
    def efer(self, value: int):
        self.vp.efer = word(value)
        self.vp.groups_to_check = 0xffff

    @property
    def mov_ss_shadow(self) -> bool:
        """Does the instruction before, MOV to SS, block events?"""
        return bool(self.vp.mov_ss_shadow)

    @mov_ss_shadow.setter
    def mov_ss_shadow(self, value: bool):
        self.vp.mov_ss_shadow = 1 if value else 0

    @property
    def pending_interrupt(self) -> int | None:
        """The vector of the external interrupt that waits, the highest of several, or None. One
        that is set comes beside those that wait; None takes them back, but for those by which
        one CPU of the kernel calls another."""
        stimers_run(self.vp)
        cdef u32 first = irq_first(&self.vp.cpu)

        return first & 0xff if first else None

    @pending_interrupt.setter
    def pending_interrupt(self, vector: int | None):
        if vector is not None and not 0 <= vector <= 255:
            raise ValueError(f"interrupt vector {vector!r}: give 0 to 255 or None")
        if vector is None:
            forget_interrupts(self.vp)
        else:
            irq_raise(&self.vp.cpu, <u32>vector)

    def interrupt(self, vector: int, after: int = 0) -> None:
        """Raise an external interrupt at this processor, after so many more instructions of L2.

        Where L2 halts before that, time passes and it comes at once. Up to 16 events may be on
        their way; an interrupt that finds another one waiting comes behind it.
        """
        if not 0 <= vector <= 255:
            raise ValueError(f"interrupt vector {vector!r}: give 0 to 255")
        self.schedule(0x100 | <u32>vector, after)

    def nmi(self, after: int = 0) -> None:
        """Raise a non-maskable interrupt at this processor; see interrupt()."""
        self.schedule(L0_ALARM_NMI, after)

    def forget_events(self) -> None:
        """Take back the interrupts and NMIs that have not come yet, or that nobody has taken."""
        self.vp.nr_alarms = self.vp.cpu.nmi = 0
        forget_interrupts(self.vp)
        stimers_arm(self.vp)

    cdef schedule(self, u32 what, after):
        if not 0 <= after < 1 << 63:
            raise ValueError(f"after {after!r} instructions: give a number from 0")
        if self.vp.nr_alarms >= L0_MAX_ALARMS:
            raise ValueError(f"{L0_MAX_ALARMS} events are on their way: let L2 run first")
        self.vp.alarm[self.vp.nr_alarms].at = self.vp.counters.l2_instructions + <u64>after
        self.vp.alarm[self.vp.nr_alarms].what = what
        self.vp.nr_alarms += 1

    @property
    def pending_nmi(self) -> bool:
        """Does a non-maskable interrupt wait?"""
        return bool(self.vp.cpu.nmi)

    @pending_nmi.setter
    def pending_nmi(self, value: bool):
        self.vp.cpu.nmi = 1 if value else 0
