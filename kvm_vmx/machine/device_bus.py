# SPDX-License-Identifier: GPL-2.0-only
"""Devices of Python, at ports and in guest-physical memory, that see to what nobody intercepts."""

from collections.abc import Callable
from typing import Any, Protocol

PAGE = 4096
PORTS, ADDRESSES = 1 << 16, 1 << 52
# the board's own: I/O APIC and local APICs
TAKEN = ((0xFEC00000, 0xFEC00FFF), (0xFEE00000, 0xFEE00FFF))


class BusDevice(Protocol):
    """What stands behind ports or addresses; offset counts from the first of them, and size is 1,
    2, 4 or 8 bytes. An exception of either comes out of whatever runs the guest: a read is asked
    again where that goes on, a write is not. A device without read reads all ones, one without
    write forgets."""

    def read(self, offset: int, size: int) -> int:
        """What is there: a number of that size."""

    def write(self, offset: int, size: int, value: int) -> None:
        """Take a number of that size."""


class Places:
    """Which device answers where; nobody: all ones, and what is written is lost."""

    def __init__(self, kind: str, end: int, changed: Callable[[], None] = lambda: None):
        self.kind, self.end, self.changed = kind, end, changed
        self.places: list[tuple[int, int, Any]] = []

    def add(self, first: int, count: int, device: BusDevice) -> None:
        """Put a device at `count` ports, or bytes of memory, before those that are there."""
        if not isinstance(first, int) or not isinstance(count, int) or count < 1 or \
                not 0 <= first <= self.end - count:
            raise ValueError(f"a device at {self.kind} {first!r}, {count!r} of them: give "
                             f"places below {self.end:#x}")
        if not any(callable(getattr(device, name, None)) for name in ("read", "write")):
            raise ValueError(f"{device!r} is no device: give an object with read(offset, size) "
                             "and write(offset, size, value)")
        self.places.insert(0, (first, count, device))
        try:
            self.changed()
        except BaseException:
            self.places.pop(0)
            raise

    def find(self, address: int) -> tuple[int, int, Any] | None:
        """The place that an address lies in."""
        for place in self.places:
            if place[0] <= address < place[0] + place[1]:
                return place
        return None

    def access(self, address: int, size: int, value: int | None) -> int:
        """A read where value is None, else a write; what is read. What reaches over the edge of a
        device is seen to byte by byte."""
        place = self.find(address)
        if size > 1 and any(self.find(address + n) != place for n in range(1, size)):
            found = 0
            for n in range(size):
                part = None if value is None else value >> 8 * n & 0xFF
                found |= self.access(address + n, 1, part) << 8 * n
            return found
        if place is None or not hasattr(place[2], "read" if value is None else "write"):
            return (1 << 8 * size) - 1
        first, _, device = place
        if value is not None:
            device.write(address - first, size, value)
            return 0
        answer = device.read(address - first, size)
        if not isinstance(answer, int) or not 0 <= answer < 1 << 8 * size:
            raise ValueError(f"a device read {answer!r} at {self.kind} {address:#x}: "
                             f"give a number of {size} bytes")
        return answer


class Bus:
    """The devices of a machine: bus.ports.add(first, count, device) and bus.memory.add(first,
    count, device), where count is in ports and in bytes. No memory may be where a device is."""

    def __init__(self, memory_ends: int):
        self.memory_ends = memory_ends
        self.ports = Places("port", PORTS, self._changed)
        self.memory = Places("address", ADDRESSES, self._changed)
        self.partition: Any = None

    def attach(self, partition: Any) -> None:
        """From here on they see to what a partition's processors access."""
        self._announce(partition)
        self.partition = partition
        partition.bus = self

    def _pages(self) -> list[tuple[int, int]]:
        """First and last address of the pages that have a device, in one range where they touch."""
        found: list[tuple[int, int]] = []
        for first, count, _ in sorted(self.memory.places, key=lambda place: place[0]):
            last = first + count - 1
            if first < self.memory_ends:
                raise ValueError(f"a device at address {first:#x}: give one behind memory, which "
                                 f"ends at {self.memory_ends:#x}")
            if any(first <= end and last >= begin for begin, end in TAKEN):
                raise ValueError(f"a device at address {first:#x} to {last:#x}, where an APIC is")
            first, last = first & -PAGE, last | PAGE - 1
            if found and first <= found[-1][1] + 1:
                first, last = found[-1][0], max(last, found.pop()[1])
            found.append((first, last))
        return found

    def _changed(self) -> None:
        if self.partition is None:
            self._pages()
        else:
            self._announce(self.partition)

    def _announce(self, partition: Any) -> None:
        partition.announce(bool(self.ports.places), self._pages())

    def see_to(self, in_memory: int, address: int, size: int, value: int | None) -> int | None:
        """The access that a processor stands still for: what is read, or None for a write."""
        found = (self.memory if in_memory else self.ports).access(address, size, value)
        return found if value is None else None
