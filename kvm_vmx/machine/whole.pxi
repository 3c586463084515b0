# SPDX-License-Identifier: GPL-2.0-only
# A processor that runs L1's code itself: what L1 is, is in memory alone.

_RSP = 4
ENDS = ("paused", "port", "memory", "waits", "shutdown", "undone")

cdef enum:
    ACTIVITY_HLT = 1


cdef const l0_field *field_of(field, int *high) except NULL:
    cdef const l0_field *found = l0_field_of(<u64>int(field), high)

    if found == NULL:
        raise ValueError(f"no field {field!r}: give one of kvm_vmx.Field")
    return found


cdef class WholeProcessor:
    """A processor of a partition whose L1 is code in memory.

    Its registers are read and set like the fields of a VMCS: get(Field.GUEST_RIP). run() goes on
    until a device, a limit or its end wants it to stand still.
    """

    cdef readonly object processor
    cdef l0_vp *vp

    def __cinit__(self, Processor processor not None, int tsc_shift=5, u64 tsc_hz=2_000_000_000,
                  *, bint host_clock=False):
        self.processor = processor
        check_process(processor.owner)
        self.vp = processor.vp
        root_start(self.vp)
        if self.vp.partition.clock.counter_shift == 0:
            root_clock(self.vp.partition, tsc_shift, tsc_hz, host_clock)

    def get(self, field, *, bint guest=False) -> int:
        """A register of L1, or of the guest that it runs now."""
        cdef int high
        cdef const l0_field *place = field_of(field, &high)

        check_process((<Processor>self.processor).owner)
        if guest and not is_root(self.vp):
            return l0_field_get(self.vp.vmcs, place, high)
        return l0_field_get(&self.vp.root_vmcs, place, high)

    def set(self, field, value: int) -> None:
        """Set a register of L1."""
        cdef int high
        cdef const l0_field *place = field_of(field, &high)

        check_process((<Processor>self.processor).owner)
        l0_field_set(&self.vp.root_vmcs, place, high, <u64>(value & _MASK_64))

    def wait_for_startup(self) -> None:
        """As after INIT: it waits for another processor's SIPI."""
        check_process((<Processor>self.processor).owner)
        root_reset(self.vp)

    @property
    def registers(self) -> list[int]:
        """The general registers of whoever runs, by encoding."""
        registers = [self.vp.gpr[i] for i in range(<int>NR_GPRS)]
        registers[_RSP] = self.vp.vmcs.f.guest_rsp
        return registers

    @registers.setter
    def registers(self, values: list[int]):
        if len(values) != NR_GPRS:
            raise ValueError(f"{len(values)} registers: give {NR_GPRS}")
        for i, value in enumerate(values):
            self.vp.gpr[<int>i] = <u64>(value & _MASK_64)
        self.vp.vmcs.f.guest_rsp = <u64>(values[_RSP] & _MASK_64)

    def run(self, instructions: int) -> str:
        """Run so many instructions of L1 and L2 together, or fewer; why it stands still: "paused",
        "port" or "memory" (access, which a device sees to), "waits" for the host's time,
        "shutdown", or "undone"."""
        cdef u64 count = instructions
        cdef u32 end

        check_process((<Processor>self.processor).owner)
        with nogil:
            end = root_run(self.vp, count)
        return ENDS[end]

    @property
    def access(self) -> tuple[int, int, int | None]:
        """The access to a port, or to memory where a device is, that run() ended with: (address,
        bytes, what is written or None)."""
        cdef const l0_access *now = &self.vp.root.bus.now

        return now.address, now.size, None if now.is_read else now.value

    def answer(self, value: int) -> None:
        """What the device has for the read that run() ended with; without one that waits, it is
        lost. Where it is not given, the instruction will ask again."""
        bus_answer(self.vp, <u64>(value & _MASK_64))

    @property
    def wakes_in(self) -> float | None:
        """The seconds of the host's time, at most, after which to run() a processor again that
        waits; None where nothing is on its way."""
        cdef u64 left = root_wakes(self.vp)

        return None if left == <u64>_MASK_64 else left / 1e9

    @property
    def reference_time(self) -> int:
        """The partition's time, in units of 100 ns."""
        return clock_reference_time(self.vp.partition)

    def set_line(self, line: int, level: int) -> None:
        """A device raises (1) or lowers (0) a line of the board's I/O APIC."""
        if not 0 <= line < L0_IO_LINES:
            raise ValueError(f"line {line!r}: give 0 to {L0_IO_LINES - 1}")
        io_apic_line(self.vp.partition, <u32>line, level != 0)

    def signal_source(self, source: int) -> bool:
        """A synthetic interrupt source fires; is its interrupt on its way?"""
        return synic_signal(self.vp, <u32>source)

    def connect(self, connection: int, source: int, *, events: bool) -> bool:
        """Let messages to a connection, or events, come to this processor by a synthetic source;
        is there a place for it?"""
        return port_connect(self.vp, <u32>connection, 2 if events else 1, <u32>source)

    def disconnect(self, connection: int) -> None:
        """Nobody is behind a connection any more."""
        port_disconnect(self.vp.partition, <u32>connection)

    def queue_exception(self, vector: int, error_code: int, *, bint injected=False) -> None:
        """An exception with an error code for whoever runs next, as if its next instruction raised
        it; injected, it is past being intercepted."""
        if not 0 <= vector < 32:
            raise ValueError(f"exception {vector!r}: give 0 to 31")
        # valid, with an error code, a hardware exception
        self.vp.root.queued = <u32>0x80000b00 | <u32>vector
        # it has 16 bits
        self.vp.root.queued_error = error_code & 0xffff
        self.vp.root.queued_past = injected

    def let_pass(self, instructions: int) -> None:
        """Let time pass at once, counted in instructions."""
        root_let_pass(self.vp, instructions)

    @property
    def in_guest(self) -> bool:
        """Does it stand in L2?"""
        return not is_root(self.vp)

    @property
    def idle(self) -> bool:
        """Does it wait, with nothing on its way?"""
        return (self.vp.vmcs.f.guest_activity_state >= ACTIVITY_HLT and not self.vp.cpu.intr
                and not self.vp.cpu.nmi and not self.vp.root.apic.timer_at
                and not self.vp.nr_alarms and not self.vp.root.apic.init_waits
                and not self.vp.root.apic.sipi_waits
                and not self.vp.vmcs.f.pin_based_vm_exec_control & PIN_BASED_VMX_PREEMPTION_TIMER)

    @property
    def instructions(self) -> dict[str, int]:
        """Executed so far: by "l1" and by "l2"; and the time spent "idle", in instructions."""
        cdef u64 all_of_them = self.vp.counters.l2_instructions - self.vp.root.idle

        return {"l1": self.vp.root.instructions, "l2": all_of_them - self.vp.root.instructions,
                "idle": self.vp.root.idle}

    @property
    def exit_reason(self) -> int:
        """Why L1's code stopped for good: the basic reason, as of a VM exit."""
        return self.vp.root_vmcs.f.vm_exit_reason

    def save(self) -> bytes:
        """The processor where it stands, L1 and L2; for restore(). Memory is not in it."""
        cdef l0_whole whole

        check_process((<Processor>self.processor).owner)
        root_save(self.vp, &whole)
        return PyBytes_FromStringAndSize(<char *>&whole, sizeof(whole))

    def restore(self, blob: bytes) -> None:
        """Continue as save() found it, here or in another partition of the same profile.
        ValueError, and no change, for any other blob."""
        cdef const unsigned char[::1] view = blob
        cdef l0_whole whole
        cdef const char *wrong

        check_process((<Processor>self.processor).owner)
        if len(view) != sizeof(whole):
            raise ValueError(f"a saved processor of {len(view)} bytes: give the {sizeof(whole)} "
                             "of save()")
        memcpy(&whole, &view[0], sizeof(whole))
        wrong = root_restore(self.vp, &whole)
        if wrong != NULL:
            raise ValueError(f"not restored, {wrong.decode()}: give what save() returned")
