# SPDX-License-Identifier: GPL-2.0-only
# How Python calls into the kernel: as which CPU, and what comes back where it hits a BUG.

# One call of a function of the kernel's: its arguments as registers hold them, and RAX as it left
# it.
cdef struct function_call:
    u64 (*function)(u64, u64, u64, u64) noexcept nogil
    u64 argument[4]
    u64 result


cdef function_call prepared(void *function, u64 a, u64 b, u64 c, u64 d) noexcept nogil:
    cdef function_call call

    call.function = <u64 (*)(u64, u64, u64, u64) noexcept nogil>function
    call.argument[0], call.argument[1], call.argument[2], call.argument[3] = a, b, c, d
    call.result = 0
    return call


cdef void do_call(void *arg) noexcept nogil:
    cdef function_call *call = <function_call *>arg

    call.result = call.function(
        call.argument[0], call.argument[1], call.argument[2], call.argument[3])


cdef void do_call_loaded(void *arg) noexcept nogil:
    cdef kvm_vcpu_t *vcpu = <kvm_vcpu_t *>(<function_call *>arg).argument[0]

    vcpu_load(vcpu)
    do_call(arg)
    vcpu_put(vcpu)


cdef class KernelCalls:
    """A kernel that can be called while it is up."""

    def __cinit__(self, Partition partition not None):
        self.partition = partition
        self.owner = this_process()
        self.by_trap = partition.by_trap

    @property
    def booted(self) -> bool:
        """Whether it is up, in this process."""
        return self.up and not is_foreign(self.owner)

    def check_open(self) -> None:
        """MachineError in a child of the process that booted it, and after shutdown()."""
        self.check()

    def check_process(self) -> None:
        """MachineError in a child of the process that made it."""
        check_process(self.owner)

    cdef int check(self) except -1:
        check_process(self.owner)
        if not self.up:
            raise MachineError(
                "its kernel is gone since a reboot or kexec: ask the machine for another"
                if self.replaced else "the machine is closed: boot another Machine")
        return 0

    cdef int call(self, int cpu, void (*fn)(void *) noexcept nogil, void *arg,
                  u64 depth=0) except -1:
        """Run fn(arg) as a CPU, without the GIL; as any that is free where cpu is ANY_CPU."""
        if cpu == ANY_CPU:
            return self.call_anywhere(ANY_CPU, fn, arg)
        if self.attempt(cpu, fn, arg, depth) == -EBUSY:
            self.refuse(cpu)
        return 0

    cdef u64 enter(self, int cpu, void *function, u64 a=0, u64 b=0, u64 c=0,
                   u64 d=0) except? 0x5a5a5a5a5a5a5a5a:
        """Call a function of the kernel's on a CPU: what it returns."""
        cdef function_call call = prepared(function, a, b, c, d)

        self.call(cpu, do_call, &call)
        return call.result

    cdef u64 enter_loaded(self, int cpu, void *function, u64 vcpu, u64 b=0,
                          u64 c=0) except? 0x5a5a5a5a5a5a5a5a:
        """Call a function that takes a vCPU, whose VMCS is current meanwhile, as
        kvm_arch_vcpu_ioctl() has it around each of its cases."""
        cdef function_call call = prepared(function, vcpu, b, c, 0)

        self.call(cpu, do_call_loaded, &call)
        return call.result

    cdef int hotplug(self, int cpu, void *function) except? -1:
        """Call a function that changes a CPU, on another one where there is one."""
        cdef function_call call = prepared(function, cpu, 0, 0, 0)

        self.call_anywhere(cpu, do_call, &call)
        return <int>call.result

    cdef int refuse(self, int cpu) except -1:
        raise MachineError(f"CPU {cpu} is in use by another thread: wait for it, or use another")

    cdef int call_anywhere(self, int but, void (*fn)(void *) noexcept nogil, void *arg) except -1:
        """Run fn(arg) as any CPU that is free; as CPU `but` only where there is no other."""
        cdef int cpu, others = 0

        for cpu in range(<int>self.partition.partition.nr_vps):
            if cpu != but and cpu_active(cpu):
                others += 1
                if self.attempt(cpu, fn, arg, 0) == 0:
                    return 0
        if others == 0:
            return self.call(but, fn, arg)
        raise MachineError("every CPU is in use by other threads: wait for one of them")

    cdef int attempt(self, int cpu, void (*fn)(void *) noexcept nogil, void *arg,
                     u64 depth, int how=RUNS) except 1:
        """0, or -EBUSY where another thread has the CPU; all else that goes wrong is raised."""
        cdef cpu_role role

        if self.oopsed and self.up:
            self.check()
            raise KernelBug("the kernel has hit a BUG: close the machine and boot another")
        if self.become(&role, cpu, how, depth):
            return -EBUSY
        return self.resign(&role, fn, arg)

    cdef int become(self, cpu_role *role, int cpu, int how, u64 depth) except 1:
        """Let this thread be a CPU: 0, or -EBUSY where another one is."""
        cdef Stacks stacks
        cdef int ret, number = thread_number()

        self.check()
        role.by_trap = self.by_trap
        if role.by_trap:
            stacks = thread_stacks()
            role.kernel_end = stacks.kernel_end
            role.signal_stack, role.signal_size = stacks.signal_stack, stacks.signal_size
        with nogil:
            ret = role_begin(role, cpu, number, depth, how)
            # as any thread that asks for the interpreter now
            while ret == -ESHUTDOWN:
                pause()
        if ret == 0 or ret == -EBUSY:
            return ret
        if ret == -ENXIO:
            raise MachineError(f"CPU {cpu} is not online: use one that is, or bring it online")
        raise MachineError(
            f"this thread cannot be a CPU: the host refuses it a signal stack, a handler or a base "
            f"of %gs ({os.strerror(-ret)}): use insn='call', or ask before it does"
            if self.by_trap else f"this thread cannot be a CPU: the host refuses it a base of %gs "
            f"({os.strerror(-ret)})")

    cdef int resign(self, cpu_role *role, void (*fn)(void *) noexcept nogil, void *arg) except 1:
        """As the CPU that this thread is call fn(arg), if there is one, and be it no more."""
        cdef int ret

        role.fn, role.arg = fn, arg
        with nogil:
            ret = role_end(role)
        if ret == 0:
            return 0
        self.oopsed = True
        log = self.log()
        raise KernelBug("; ".join(log[len(log) - 3:]))

    def log(self) -> list[str]:
        """The kernel log: its last lines, oldest first."""
        cdef u64 end = log_end(), i

        return [log_line(i).decode(errors="replace")
                for i in range(end - LOG_LINES if end > LOG_LINES else 0, end)]

    def last_words(self) -> list[str]:
        """What the kernel has logged in this thread's last call, and for it."""
        cdef u64 end = log_end(), i = log_began

        if i + LOG_LINES < end:
            i = end - LOG_LINES
        said = []
        while i < end:
            if log_is_mine(i):
                said.append(log_line(i).decode(errors="replace"))
            i += 1
        return said

    def warnings(self) -> int:
        """How many WARNINGs the kernel has printed."""
        return log_warnings()
