# SPDX-License-Identifier: GPL-2.0-only
"""Which bytes of a memory a slice means, and how large a block of pages is."""


def span(where: slice, size: int,
         data: bytes | bytearray | memoryview | None = None) -> tuple[int, int]:
    """Where a slice of a memory of so many bytes begins and ends; data, where it is to be stored
    there, is as long. An address outside is an IndexError, and not cut off as a list would."""
    if not isinstance(where, slice) or where.step is not None:
        raise TypeError(f"{where!r} of a memory: give a slice of bytes, memory[gpa:gpa + 8]")
    start = 0 if where.start is None else where.start
    stop = size if where.stop is None else where.stop
    if not isinstance(start, int) or not isinstance(stop, int):
        raise TypeError(f"{where!r} of a memory: give two addresses, memory[gpa:gpa + 8]")
    if not 0 <= start <= stop <= size:
        raise IndexError(f"bytes {start:#x} to {stop:#x} are outside memory, which ends at "
                         f"{size:#x}, or end before they begin")
    if data is not None and memoryview(data).nbytes != stop - start:
        raise ValueError(f"{memoryview(data).nbytes} bytes for {stop - start} of memory: "
                         "give as many")
    return start, stop


def order_of(size: int, most: int) -> int:
    """The order of the smallest block of pages that has so many bytes, at most a memory's."""
    if not isinstance(size, int) or not 0 < size <= most:
        raise ValueError(f"{size!r} bytes: give a number from 1 to {most}")
    return (size - 1 >> 12).bit_length()
