# SPDX-License-Identifier: GPL-2.0-only
# Steps of the kernel that are to fail, and where its thread is to lose the CPU.

# Steps of the kernel that fail inside it, and instructions that fail under it.
FAIL_STEPS = {
    "page": FAIL_PAGE, "kmalloc": FAIL_KMALLOC, "vmalloc": FAIL_VMALLOC, "mprotect": FAIL_MPROTECT}
FAIL_INSTRUCTIONS = {"msr": FAIL_MSR, "hypercall": FAIL_HYPERCALL}


cdef class KernelFailPoints(KernelCalls):
    """A kernel some of whose steps can be made to fail."""

    def __cinit__(self, Partition partition not None):
        self.one_msr = "msr:"

    def fail(self, point, nth) -> None:
        """Let the nth step of a kind fail, counted from now; 0 takes it back."""
        msr = msr_of_point(point, (*FAIL_STEPS, *FAIL_INSTRUCTIONS))
        if not 0 <= nth < 1 << 31:
            raise ValueError(f"the {nth}th step: give 1 for the next one, or 0 for none")
        if point in FAIL_STEPS:
            fail_nth(FAIL_STEPS[point], nth)
        elif msr is not None:
            failing_msr(msr)
            failing_nth(self.partition.partition, FAIL_ONE_MSR, nth)
            self.one_msr = point
        else:
            failing_nth(self.partition.partition, FAIL_INSTRUCTIONS[point], nth)

    def preempt(self, nth) -> None:
        """Let the thread that runs the kernel lose its CPU before its nth VMWRITE."""
        if self.by_trap:
            raise MachineError("instructions by trap are not preempted: use insn=\"call\"")
        if not 0 <= nth < 1 << 31:
            raise ValueError(f"the {nth}th VMWRITE: give 1 for the next one, or 0 for none")
        failing_nth(self.partition.partition, PREEMPTED, nth)

    def failures_left(self) -> dict[str, int]:
        """The steps still to come before each failure that has been asked for."""
        left = {point: fail_left(number) for point, number in FAIL_STEPS.items()}
        left |= {point: failing_left(kind) for point, kind in FAIL_INSTRUCTIONS.items()}
        left["preempt"] = failing_left(PREEMPTED)
        left[self.one_msr] = failing_left(FAIL_ONE_MSR)
        return {point: count for point, count in left.items() if count}

    def failures_struck(self) -> list[tuple[int, str, int]]:
        """(CPU, instruction, MSR or control word) of those that have failed as they were told."""
        return failing_struck()
