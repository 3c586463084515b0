# SPDX-License-Identifier: GPL-2.0-only
"""A board that runs one L1 image: memory, processors, devices, and a limit of time."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from kvm_vmx.abi.constants import MSR_IA32_VMX_CR4_FIXED1, X86_CR4_OSXSAVE
from kvm_vmx.abi.numbers import ExitReason, Field
from kvm_vmx.boot import devices
from kvm_vmx.l0.cpuid_dump import Leaves
from kvm_vmx.machine.device_bus import Bus
from kvm_vmx.machine.partition import Partition, PhysicalMemory
from kvm_vmx.machine.shipped import profile_of
from kvm_vmx.machine.whole import WholeProcessor
from kvm_vmx.words import unknown

SLICE = 400_000         # instructions of one processor before the clock is looked at
TURN = 2_000            # and where several take turns
CLOCKS = ("virtual", "host")
NAP = 0.01              # no longer without a look at signals and limits, in seconds
TSC_SHIFT, TSC_HZ = 5, 2_000_000_000
LARGEST = 0xC0000000    # devices lie behind it
TOPOLOGY, THREADS, CORES = 0xB, 1, 2
X2APIC, TSC_DEADLINE, APIC = 1 << 21, 1 << 24, 1 << 9      # of CPUID leaf 1: ECX, ECX, EDX
HYPERVISOR, XSAVE = 1 << 31, 1 << 26                        # the same leaf's ECX
# XSAVE in the standard form, of x87 and SSE state (SDM 1 13.2)
EXTENDED, STATES, STATE_SIZE = 0xD, 3, 576


@dataclasses.dataclass(frozen=True)
class End:
    """How an image ended: its exit value, or None and why; what it did until then."""

    value: int | None
    why: str
    seconds: float
    instructions: dict[str, int]


class Board:
    """Memory, processors and devices for one image; run() is its life.

    sink takes what the serial port sends; the time is counted in instructions, clock "virtual", or
    the host's, "host". More devices go to ports and mmio: add(first, count, device). Partition
    says what the other arguments are.
    """

    def __init__(self, memory: int = 512 << 20, cpus: int = 1, profile: str = "bare",
                 sink: Callable[[bytes], None] = lambda sent: None, clock: str = "virtual",
                 **options: Any):
        if clock not in CLOCKS:
            raise ValueError(unknown("clock", clock, CLOCKS))
        if memory % 4096 or not 1 << 20 <= memory <= LARGEST:
            raise ValueError(f"memory of {memory} bytes: give whole pages, 1 MiB to 3 GiB")
        self.memory = PhysicalMemory(memory)
        self.options: dict[str, Any] = {
            "cpus": cpus, "profile": profile, "cpuid": board_leaves(profile, cpus),
            "msrs": board_msrs(profile), **options}
        self.cpus, self.profile, self.clock = cpus, profile, clock
        self.bus = Bus(memory)
        self.ports, self.mmio = self.bus.ports, self.bus.memory
        self.ports.add(devices.SERIAL, 8, devices.Uart16550(sink))
        self.ports.add(devices.EXIT, 4, devices.ExitPort())
        self.ports.add(devices.FW_CFG, 2, devices.FirmwareConfig(memory, cpus))
        self.ports.add(devices.PM_TIMER, 4, devices.PmTimer(self.now))
        self.ports.add(devices.LINES, devices.NR_LINES, devices.IrqLines(
            lambda line, level: self.processors[0].set_line(line, level)))
        self.ports.add(devices.HYPERV_TEST, 4, devices.HypervTest(lambda: self.processors))
        self.processors: list[WholeProcessor] = []
        self.power_on()

    def power_on(self) -> None:
        """New processors: the first is the image's to set up, the others wait for SIPI."""
        self.partition = Partition(self.memory, **self.options)
        self.bus.attach(self.partition)
        self.processors = [
            WholeProcessor(self.partition.processor(n), TSC_SHIFT, TSC_HZ,
                           host_clock=self.clock == "host")
            for n in range(self.cpus)]
        for processor in self.processors:
            processor.wait_for_startup()

    def now(self) -> int:
        """The board's time in ns, counted in instructions or the host's."""
        if self.clock == "host":
            return self.processors[0].reference_time * 100
        done = sum(self.processors[0].instructions.values())
        return (done << TSC_SHIFT) * 10**9 // TSC_HZ

    def move(self) -> None:
        """Save each processor and go on in a new partition, as if migrated to another host."""
        saved = [processor.save() for processor in self.processors]
        self.power_on()
        for processor, blob in zip(self.processors, saved):
            processor.restore(blob)

    def access(self, processor: WholeProcessor, in_memory: bool) -> None:
        """Let a device see to the processor's access to a port, or to memory."""
        number = self.processors.index(processor)
        found = self.bus.see_to(in_memory, *processor.access)
        if found is not None:
            # the device may have put another processor in its place
            self.processors[number].answer(found)

    def one_turn(self, processor: WholeProcessor, count: int) -> bool:
        """Run a processor for a turn, shorter where it waits for the host's time: True then.
        Ended, or CannotGoOn where it can do no more."""
        target = sum(processor.instructions.values()) + count
        while (left := target - sum(processor.instructions.values())) > 0:
            end = processor.run(left)
            if end in ("port", "memory"):
                self.access(processor, end == "memory")
                if processor not in self.processors:
                    return False
            elif end == "shutdown":
                raise devices.CannotGoOn(f"triple fault of L1 at {where(processor)}")
            elif end == "undone":
                raise devices.CannotGoOn(f"{reason(processor)} of L1 at {where(processor)}: "
                                         "this processor cannot do that")
            elif end == "waits":
                return True
        return False

    def turns(self, seconds: float, instructions: int | None) -> str:
        """All processors in turn until one of the limits; why it ended."""
        began = time.monotonic()
        count = SLICE if self.cpus == 1 else TURN
        done = 0
        while time.monotonic() - began < seconds:
            if instructions is not None and done >= instructions:
                return f"{instructions} instructions are over"
            waiting = [self.one_turn(processor, count) for processor in list(self.processors)]
            if all(processor.idle for processor in self.processors):
                return f"halted at {where(self.processors[0])}, with nothing on its way"
            if all(waiting):
                self.sleep()
            else:
                done += count
        return f"{seconds:g} seconds are over"

    def sleep(self) -> None:
        """Wait for the next event in the host's time, or a nap of it."""
        left = [found for processor in self.processors
                if (found := processor.wakes_in) is not None]
        time.sleep(min([NAP, *left]))

    def run(self, seconds: float = 60.0, instructions: int | None = None) -> End:
        """Run until the image ends, or a limit of time does it."""
        began = time.monotonic()
        value = None
        try:
            why = self.turns(seconds, instructions)
        except devices.Ended as end:
            value, why = end.value, str(end)
        except devices.CannotGoOn as error:
            why = str(error)
        total = dict.fromkeys(("l1", "l2", "idle"), 0)
        for processor in self.processors:
            for name, number in processor.instructions.items():
                total[name] += number
        return End(value, why, time.monotonic() - began, total)


def board_leaves(profile: str, cpus: int) -> Leaves:
    """Leaves of a profile with what a board has and an L1 of Python's has not: the local APIC, in
    leaf 0xb the IDs, of one core a processor, and without a hypervisor the extended state."""
    leaves = profile_of(profile).cpuid
    eax, ebx, ecx, edx = leaves[1]
    highest, vendor = leaves[0][0], leaves[0][1:]
    found: Leaves = {}
    if not ecx & HYPERVISOR:
        highest, ecx = max(highest, EXTENDED), ecx | XSAVE
        found = {EXTENDED: (STATES, STATE_SIZE, STATE_SIZE, 0), (EXTENDED, 1): (0, 0, 0, 0)}
    return found | {
        0: (max(highest, TOPOLOGY), *vendor),
        1: (eax, ebx, ecx | X2APIC | TSC_DEADLINE, edx | APIC),
        TOPOLOGY: (0, 1, THREADS << 8, 0),
        (TOPOLOGY, 1): ((cpus - 1).bit_length(), cpus, CORES << 8 | 1, 0)}


def board_msrs(profile: str) -> dict[int, int]:
    """The MSRs that go with these leaves: L2's CR4 may have OSXSAVE where there is XSAVE."""
    found = profile_of(profile)
    if found.cpuid[1][2] & HYPERVISOR:
        return {}
    return {MSR_IA32_VMX_CR4_FIXED1: found.msrs[MSR_IA32_VMX_CR4_FIXED1] | X86_CR4_OSXSAVE}


def where(processor: WholeProcessor) -> str:
    """RIP of whoever runs, and who that is."""
    rip = processor.get(Field.GUEST_RIP, guest=True)
    return f"{rip:#x} in {'L2' if processor.in_guest else 'L1'}"


def reason(processor: WholeProcessor) -> str:
    """The name of what no processor here does."""
    return str(ExitReason.of(processor.exit_reason))
