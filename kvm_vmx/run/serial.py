# SPDX-License-Identifier: GPL-2.0-only
"""A serial port for `kvm-vmx run --serial`: what a guest sends to 0x3f8 is kept, and it goes on.

As much of a 16550 as a guest asks for before it prints: ready for the next byte, never with a
byte to read; all other registers take what they are given.
"""

from typing import Protocol

from kvm_vmx.machine.vcpu import ExitSummary

FIRST, LAST = 0x3F8, 0x3FF
DATA, LINE_CONTROL, LINE_STATUS = 0, 3, 5
DIVISOR_LATCH = 0x80        # of line control: the data register is the divisor's
NOTHING_TO_SEND = 0x60      # of line status
UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"


class Answered(Protocol):
    """A vCPU, as far as this port has to do with it."""

    def answer(self, value: int) -> None:
        """What the IN that ended a run finds."""


class Serial:
    """The port, as one run of a guest finds it."""

    def __init__(self) -> None:
        self.output = bytearray()
        self._divisor_latch = False

    def serves(self, summary: ExitSummary, vcpu: Answered) -> bool:
        """Do what the port I/O that ended a run asks of this port; False where it asks another."""
        io = summary.data
        if summary.reason != "IO" or not FIRST <= io["port"] <= LAST:
            return False
        registers = range(io["port"] - FIRST, io["port"] - FIRST + io["size"])
        if io["direction"] == "out":
            for register, byte in zip(registers, io["data"].to_bytes(io["size"], "little")):
                self._write(register, byte)
        else:
            vcpu.answer(int.from_bytes(map(self._read, registers), "little"))
        return True

    def _write(self, register: int, byte: int) -> None:
        if register == LINE_CONTROL:
            self._divisor_latch = bool(byte & DIVISOR_LATCH)
        elif register == DATA and not self._divisor_latch:
            self.output.append(byte)

    def _read(self, register: int) -> int:
        return NOTHING_TO_SEND if register == LINE_STATUS else 0

    @property
    def text(self) -> str:
        """What was sent, as text that no terminal obeys."""
        sent = self.output.decode("utf-8", "replace").replace("\r", "")
        return "".join(c if c.isprintable() or c in "\n\t" else UNPRINTABLE for c in sent)
