# SPDX-License-Identifier: GPL-2.0-only
# A CPU in the hands of one thread, for instructions that Python executes on it.

@cython.no_gc
cdef class Hold:
    """`with Hold(kernel, cpu):` nobody else runs as that CPU, which may be offline; MachineError
    where another thread does. What other CPUs ask of it meanwhile is done at the end."""

    cdef Kernel kernel
    cdef int cpu
    cdef bint held
    cdef cpu_role role

    def __cinit__(self, Kernel kernel not None, int cpu):
        if not 0 <= cpu < len(kernel.partition):
            raise IndexError(f"no CPU {cpu}: there are {len(kernel.partition)}")
        self.kernel, self.cpu = kernel, cpu

    def __enter__(self) -> None:
        if self.held:
            raise MachineError(f"CPU {self.cpu} is held already: make another Hold")
        if self.kernel.become(&self.role, self.cpu, HELD, 0):
            raise MachineError(
                f"CPU {self.cpu} is in use by another thread: wait for it, or use another")
        self.held = True

    def __exit__(self, *_):
        if self.held:
            self.held = False
            self.kernel.resign(&self.role, NULL, NULL)

    def __dealloc__(self):
        if self.held:
            self.kernel.resign(&self.role, NULL, NULL)


cdef class Bound:
    """`with` a CPU of a machine: the thread's calls of the port go there. Entered and left in C,
    and what is dropped without being left is left then: no exception can leave a thread bound."""

    cdef public object machine
    cdef public int index
    cdef object __weakref__

    def __enter__(self) -> "Self":
        binding = self.machine._binding
        binding.stack = getattr(binding, "stack", ()) + (weakref.ref(self),)
        return self

    def __exit__(self, *_):
        cdef list left = [there for there in self.machine._binding.stack if there() is not None]
        cdef int i = len(left) - 1

        while i >= 0 and left[i]() is not self:
            i -= 1
        if i >= 0:
            # and what was broken off above it
            self.machine._binding.stack = tuple(left[:i])


def bound_cpu(binding) -> int | None:
    """The CPU that the calling thread is bound to: of the innermost `with` that is not left."""
    for there in reversed(getattr(binding, "stack", ())):
        bound = there()
        if bound is not None:
            return bound.index
    return None
