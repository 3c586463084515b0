# SPDX-License-Identifier: GPL-2.0-only
"""The devices of a board that images without drivers ask for, by their ports."""

from collections.abc import Callable

from kvm_vmx.machine.whole import WholeProcessor

SERIAL, EXIT, SHUTDOWN_PORT, FW_CFG, FW_CFG_DATA = 0x3F8, 0xF4, 0x8900, 0x510, 0x511
PM_TIMER = 0x608
HYPERV_TEST = 0x3000
LINES, NR_LINES = 0x2000, 24
PM_TIMER_HZ = 3_579_545
TRANSMITTER_EMPTY = 0x60
LINE_CONTROL, LINE_STATUS = 3, 5
DIVISOR_LATCH = 0x80
FW_RAM_SIZE, FW_CPUS, FW_MAX_CPUS = 3, 5, 15


class Ended(Exception):
    """The image has written to its exit port; value is what."""

    def __init__(self, value: int):
        super().__init__(f"exit {value}")
        self.value = value


class CannotGoOn(RuntimeError):
    """The board, or a device of it, can do no more; it says why."""


class Uart16550:
    """A 16550 that is always ready to send, and never receives."""

    def __init__(self, sink: Callable[[bytes], None]):
        self.sink = sink
        self.registers = [0] * 8

    def read(self, offset: int, size: int) -> int:
        """IN of a register."""
        if offset == LINE_STATUS:
            return TRANSMITTER_EMPTY
        return 0 if offset == 0 else self.registers[offset]     # of one byte, whatever the size

    def write(self, offset: int, size: int, value: int) -> None:
        """OUT to a register: of the first, where the divisor latch is off, a byte to send."""
        if offset == 0 and not self.registers[LINE_CONTROL] & DIVISOR_LATCH:
            self.sink(bytes([value & 0xFF]))
        else:
            self.registers[offset] = value & 0xFF


class ExitPort:
    """isa-debug-exit, by which images say how they end."""

    def read(self, offset: int, size: int) -> int:
        """Nothing is there to read."""
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """The end."""
        raise Ended(value)


class FirmwareConfig:
    """fw_cfg as far as an image without firmware asks: memory and processors."""

    def __init__(self, memory: int, cpus: int):
        self.items = {0: b"QEMU", FW_RAM_SIZE: memory.to_bytes(8, "little"),
                      FW_CPUS: cpus.to_bytes(8, "little"), FW_MAX_CPUS: cpus.to_bytes(8, "little")}
        self.data = b""

    def read(self, offset: int, size: int) -> int:
        """The next bytes of the item that was chosen; 0 behind its end."""
        if offset == 0:
            return 0
        found, self.data = self.data[:size], self.data[size:]
        return int.from_bytes(found, "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """Choose an item."""
        if offset == 0:
            self.data = self.items.get(value & 0x3FFF, b"")


class PmTimer:
    """ACPI's timer: 3.58 MHz of the time that it is given, in ns."""

    def __init__(self, now: Callable[[], int]):
        self.now = now

    def read(self, offset: int, size: int) -> int:
        """Its count, 32 bits."""
        return (self.now() * PM_TIMER_HZ // 10**9 & 0xFFFFFFFF) >> 8 * offset & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """It cannot be set."""


class IrqLines:
    """The test device of kvm-unit-tests that raises and lowers lines of the I/O APIC."""

    def __init__(self, set_line: Callable[[int, int], None]):
        self.set_line = set_line

    def read(self, offset: int, size: int) -> int:
        """Nothing is there to read."""
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """The line of that port."""
        self.set_line(offset, value & 1)


class HypervTest:
    """The test device of kvm-unit-tests by which a synthetic interrupt source fires, and a
    connection leads to one. Routes need no making here."""

    FIRE, MESSAGES, NO_MESSAGES, EVENTS, NO_EVENTS = 3, 4, 5, 6, 7

    def __init__(self, processors: Callable[[], list[WholeProcessor]]):
        self.processors = processors

    def read(self, offset: int, size: int) -> int:
        """Nothing is there to read."""
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """From the top: a connection, the command, the processor, the source; 8 bits each."""
        connection, command, number, source = value.to_bytes(4, "big")
        if number >= len(self.processors()):
            return
        processor = self.processors()[number]
        if command == self.FIRE:
            processor.signal_source(source)
        elif command in (self.MESSAGES, self.EVENTS):
            processor.connect(connection, source, events=command == self.EVENTS)
        elif command in (self.NO_MESSAGES, self.NO_EVENTS):
            processor.disconnect(connection)
