# SPDX-License-Identifier: GPL-2.0-only
# Who is inside a machine: many threads that use it, or one that changes it, and nobody waits.
#
# Each way in is an object of its own, entered and left in C: no exception can come between the
# count and the `with`, and what is dropped without being left is left then.

cdef class Gate:
    """Loading and unloading and destroying need the machine to themselves: text is not
    executable while it is patched, and what is freed may be in use. A thread that comes at the
    wrong time gets a MachineError, so that none can hang."""

    cdef process_t owner
    cdef spinlock_t lock
    cdef int users
    cdef ulong changer
    cdef int depth
    cdef object building_lock

    def __cinit__(self):
        self.owner = this_process()
        self.building_lock = threading.RLock()

    def use(self) -> "Use":
        """For a call that needs everything to stay where it is."""
        return Use(self)

    def change(self) -> "Changing":
        """For a call that takes something away, or rewrites text; may be nested."""
        return Changing(self)

    @property
    def building(self) -> "Building":
        """Building VMs and vCPUs, and hotplug, come one after the other, beside vCPUs that run."""
        return Building(self)

    @property
    def idle(self) -> bool:
        """Whether nobody is inside."""
        return not self.users and not self.depth

    cdef int enter(self) except -1:
        cdef bint free

        # who was inside at the fork is not in the child
        check_process(self.owner)
        spin_lock(&self.lock)
        free = not self.depth or self.changer == pthread_self()
        self.users += free
        spin_unlock(&self.lock)
        if not free:
            raise MachineError("another thread is changing the machine (loading, unloading, "
                               "destroying): try again when it is done")
        return 0

    cdef void leave(self) noexcept:
        spin_lock(&self.lock)
        self.users -= 1
        spin_unlock(&self.lock)

    cdef int begin(self) except -1:
        cdef ulong me = pthread_self()
        cdef bint free

        check_process(self.owner)
        spin_lock(&self.lock)
        free = not self.users and (not self.depth or self.changer == me)
        if free:
            self.changer = me
            self.depth += 1
        spin_unlock(&self.lock)
        if not free:
            raise MachineError("the machine is in use (a vCPU runs, or another thread is "
                               "inside): wait until that call has returned")
        return 0

    cdef void end(self) noexcept:
        spin_lock(&self.lock)
        self.depth -= 1
        spin_unlock(&self.lock)


@cython.no_gc
cdef class Way:
    """A way into a gate, for one `with`."""

    cdef Gate gate
    cdef bint inside

    def __cinit__(self, Gate gate not None, *_):
        self.gate = gate

    cdef int enter(self) except -1:
        return 0

    cdef void leave(self) noexcept:
        pass

    def __enter__(self) -> object:
        self.enter()
        self.inside = True

    def __exit__(self, *_):
        if self.inside:
            self.inside = False
            self.leave()

    def __dealloc__(self):
        if self.inside:
            self.leave()


@cython.no_gc
cdef class Use(Way):
    """See Gate.use()."""

    cdef int enter(self) except -1:
        return self.gate.enter()

    cdef void leave(self) noexcept:
        self.gate.leave()


@cython.no_gc
cdef class Changing(Way):
    """See Gate.change()."""

    cdef int enter(self) except -1:
        return self.gate.begin()

    cdef void leave(self) noexcept:
        self.gate.end()


@cython.no_gc
cdef class Building(Way):
    """See Gate.building."""

    cdef int enter(self) except -1:
        check_process(self.gate.owner)
        # a signal that raises while this waits leaves the lock alone
        self.gate.building_lock.acquire()
        return 0

    cdef void leave(self) noexcept:
        self.gate.building_lock.release()


@cython.no_gc
cdef class Together:
    """Ways in that one `with` leaves together, the last one first; what is dropped without being
    left drops each of them. contextlib.ExitStack is Python's: an exception may come between what
    it enters and its knowing, or stay in it with all that it holds."""

    cdef list ways

    def __cinit__(self):
        self.ways = []

    def enter(self, way):
        """Enter one more: what it gives."""
        found = way.__enter__()
        self.ways.append(way)
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.ways:
            # one that raises keeps the others from nothing
            try:
                self.ways.pop().__exit__(None, None, None)
            finally:
                self.__exit__()


cdef class Busy:
    """A lock of one object that nobody waits for either."""

    cdef str what
    cdef spinlock_t lock

    def __cinit__(self, str what not None):
        self.what = what


@cython.no_gc
cdef class Using(Way):
    """A user of the gate that has an object of the kernel: entered, it is what owner._there() says,
    or raises; busy, where there is one, is this user's alone meanwhile."""

    cdef object owner
    cdef Busy busy

    def __cinit__(self, Gate gate not None, owner, Busy busy=None):
        self.owner, self.busy = owner, busy

    def __dealloc__(self):
        # before what it refers to goes, and so before the class above
        if self.inside:
            self.inside = False
            self.leave()

    def __enter__(self):
        self.gate.enter()
        try:
            raw = self.owner._there()
            if self.busy is not None and not spin_trylock(&self.busy.lock):
                raise MachineError(
                    f"{self.busy.what} is in use by another call: wait until it returns")
        except BaseException:
            self.gate.leave()
            raise
        self.inside = True
        return raw

    cdef void leave(self) noexcept:
        if self.busy is not None:
            spin_unlock(&self.busy.lock)
        self.gate.leave()
