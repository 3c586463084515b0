# SPDX-License-Identifier: GPL-2.0-only
# Guest-physical memory of one L1 machine, as Python and the kernel's two mappings see it.

cdef extern from "sys/mman.h" nogil:
    enum:
        MAP_NORESERVE
        MFD_CLOEXEC
        MAP_ANONYMOUS
        MREMAP_MAYMOVE
        MADV_DONTFORK
    int madvise(void *address, size_t length, int advice)
    int memfd_create(const char *name, unsigned int flags)
    void *mremap(void *old, size_t old_size, size_t new_size, int flags)


cdef class PhysicalMemory:
    """Guest-physical memory of one L1 machine: GPA 0 up to size, in bytes, all zero at first.

    The pages are mapped twice, as a kernel maps them: once linearly, once where vmalloc puts
    them. They take memory of the host only when they are touched. A child of fork() has none of
    them, and each use there raises MachineError.
    """

    def __cinit__(self, size_t size):
        cdef int fd

        if size == 0 or size & 0xfff or size > <size_t>1 << 40:
            raise ValueError(
                f"memory of {size} bytes: give a multiple of 4096, at most {1 << 40}")
        if not host.has("memfd"):
            self.map_without_file(size)
            return
        fd = memfd_create("l1-memory", MFD_CLOEXEC)
        if fd < 0 or ftruncate(fd, size) != 0:
            why = strerror(errno).decode()
            if fd >= 0:
                close(fd)
            raise MemoryError(f"no memory file of {size} bytes: {why}")
        self.mem.base = <u8 *>mmap(
            NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0)
        self.vmalloc_base = <u8 *>mmap(
            NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0)
        close(fd)
        self.mem.size = size
        if self.mem.base == MAP_FAILED or self.vmalloc_base == MAP_FAILED:
            raise MemoryError(f"cannot map {size} bytes: {strerror(errno).decode()}")

    cdef map_without_file(self, size_t size):
        # An old size of 0 maps pages that are shared a second time, wherever there is room.
        self.mem.base = <u8 *>mmap(
            NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        if self.mem.base != MAP_FAILED:
            self.vmalloc_base = <u8 *>mremap(self.mem.base, 0, size, MREMAP_MAYMOVE)
        self.mem.size = size
        if self.mem.base == MAP_FAILED or self.vmalloc_base == MAP_FAILED:
            raise MemoryError(f"cannot map {size} bytes: {strerror(errno).decode()}")

    def __init__(self, size_t size):
        self.owner = this_process()
        self.blocks = {}
        if madvise(self.mem.base, size, MADV_DONTFORK) or \
                madvise(self.vmalloc_base, size, MADV_DONTFORK):
            raise MemoryError(
                f"cannot keep memory from children of this process: {strerror(errno).decode()}")

    def __dealloc__(self):
        # in a child something else may lie there by now
        if is_foreign(self.owner):
            return
        if self.mem.base != NULL and self.mem.base != MAP_FAILED:
            munmap(self.mem.base, self.mem.size)
        if self.vmalloc_base != NULL and self.vmalloc_base != MAP_FAILED:
            munmap(self.vmalloc_base, self.mem.size)
        free(self.mem.unbacked)
        free(self.mem.written)

    def __repr__(self):
        return f"<PhysicalMemory, {self.mem.size:#x} bytes>"

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return self.mem.size

    cdef check(self, gpa, length):
        check_process(self.owner)
        if length < 0:
            raise ValueError(f"a length of {length}: give 0 or more bytes")
        if not 0 <= gpa < self.mem.size or length > self.mem.size - gpa:
            raise IndexError(
                f"{length} bytes at {gpa:#x} are outside memory, which ends at "
                f"{self.mem.size:#x}")
        if length and phys_ptr(&self.mem, gpa, length) == NULL:
            raise IndexError(f"{length} bytes at {gpa:#x} are not backed: call back() first")

    def read(self, gpa: int, length: int) -> bytes:
        """length bytes at a guest-physical address; IndexError where there is no memory."""
        self.check(gpa, length)
        return PyBytes_FromStringAndSize(<char *>self.mem.base + <u64>gpa, length)

    def write(self, gpa: int, data: bytes) -> None:
        """Store bytes at a guest-physical address; IndexError where there is no memory."""
        cdef const unsigned char[::1] view = data

        self.check(gpa, len(view))
        if len(view):
            memcpy(self.mem.base + <u64>gpa, &view[0], len(view))
            if self.mem.written != NULL:
                note_stores(&self.mem, gpa, gpa + len(view))

    def __getitem__(self, where) -> bytes:
        """memory[gpa:gpa + 8]: the bytes from one address up to another."""
        start, stop = span(where, self.mem.size)
        return self.read(start, stop - start)

    def __setitem__(self, where, data) -> None:
        start, _ = span(where, self.mem.size, data)
        self.write(start, bytes(data))

    def alloc(self, size: int = 4096) -> int:
        """The GPA of `size` bytes in whole pages, zeroed, aligned to their size rounded up to a
        power of two: the L1 kernel hands them out, so that nobody else has them, and counts them
        in Machine.allocations until free(), or the end of the machine. MemoryError where it has
        no such block left, MachineError where no kernel is up."""
        check_process(self.owner)
        order = order_of(size, self.mem.size)
        gpa = self._handed_out_by().take_pages(order)
        if gpa is None:
            raise MemoryError(f"L1 has no {size} bytes in a row: boot it with more memory")
        self.blocks[gpa] = order
        return gpa

    def free(self, gpa: int) -> None:
        """Give back what alloc() returned; ValueError for any other address."""
        kernel = self._handed_out_by()
        if gpa not in self.blocks:
            raise ValueError(f"nothing is allocated at {gpa:#x}: give what alloc() returned")
        kernel.give_pages(gpa, self.blocks.pop(gpa))

    def _handed_out_by(self):
        check_process(self.owner)
        if self.kernel is None:
            raise MachineError("no kernel hands out this memory: use that of an open Machine")
        return self.kernel

    def hand_out_by(self, kernel: object) -> None:
        """From here on a kernel hands out the pages; with None nobody does."""
        self.kernel = kernel
        self.blocks.clear()

    def read_u64(self, gpa: int) -> int:
        """The 8 bytes at gpa as a number, least significant first."""
        return int.from_bytes(self.read(gpa, 8), "little")

    def write_u64(self, gpa: int, value: int) -> None:
        """Store a 64-bit number at gpa, least significant byte first."""
        self.write(gpa, value.to_bytes(8, "little"))

    def mapped(self, gpa: int) -> tuple[int, int]:
        """Where a guest-physical address stands in this process: both mappings of its page."""
        self.check(gpa, 1)
        return <size_t>self.mem.base + <size_t>gpa, <size_t>self.vmalloc_base + <size_t>gpa

    def back(self, gpa: int) -> None:
        """Let the page around gpa be there again, with what it held."""
        self._mark(gpa, False)

    def unback(self, gpa: int) -> None:
        """Take the page around gpa away: L0 and Python then find nothing there."""
        self._mark(gpa, True)

    def _mark(self, gpa: int, bint gone) -> None:
        cdef u64 page

        check_process(self.owner)
        if not 0 <= gpa < self.mem.size:
            raise IndexError(f"{gpa:#x} is outside memory, which ends at {self.mem.size:#x}")
        page = <u64>gpa >> 12
        if self.mem.unbacked == NULL:
            if not gone:
                return
            self.mem.unbacked = <u64 *>calloc((self.mem.size >> 12) // 64 + 1, 8)
            if self.mem.unbacked == NULL:
                raise MemoryError("no memory for the page map")
        if gone:
            self.mem.unbacked[page // 64] |= <u64>1 << (page % 64)
        else:
            self.mem.unbacked[page // 64] &= ~(<u64>1 << (page % 64))
