# SPDX-License-Identifier: GPL-2.0-only
"""The host's part of the selftest hyperv_features: an MSR or a hypercall at a time, as CPUID offers
more and more of Hyper-V."""

import dataclasses
import struct

from kvm_vmx.boot.board import board_leaves
from kvm_vmx.boot.selftest import Selftest
from kvm_vmx.l0.cpuid_dump import Leaves

FEATURES, HINTS, POWER = 0x40000003, 0x40000004, 0x80000007
# registers of a leaf
EAX, EBX, ECX, EDX = range(4)
OS_ID, RESET, VP_INDEX, RUNTIME = 0x40000000, 0x40000003, 0x40000002, 0x40000010
HYPERCALL, REFERENCE_COUNT, REFERENCE_PAGE = 0x40000001, 0x40000020, 0x40000021
FREQUENCY, EOI, END_OF_MESSAGE, TIMER = 0x40000022, 0x40000070, 0x40000084, 0x400000B0
REENLIGHTENMENT, EMULATION_STATUS, CRASH, INVARIANT, DEBUGGER = (
    0x40000106, 0x40000108, 0x40000100, 0x40000118, 0x400000F2)
LINUX = 0x8100 << 48
DIRECT = 1 << 12
GOOD, BAD = False, True     # does the access fault?


@dataclasses.dataclass(frozen=True)
class FeatureStep:
    """One machine: the bits that CPUID offers from here on, as (leaf, register, bit); the function
    of the guest; and what it is given, as its struct."""

    offers: tuple[tuple[int, int, int], ...]
    entry: str
    name: str
    given: bytes


def msr(number: int, value: int | None, faults: bool, *offers: tuple[int, int, int]) -> FeatureStep:
    """An MSR to read, or to write and read."""
    writes = value is not None
    return FeatureStep(offers, "guest_msr", f"{'WR' if writes else 'RD'}MSR {number:#x}",
                struct.pack("<I??xxQ", number, faults, writes, value or 0))


def feature(register: int, bit: int) -> tuple[int, int, int]:
    """A bit of leaf 0x40000003."""
    return FEATURES, register, bit


def offered(number: int, offer: tuple[int, int, int],
            *writes: tuple[int, bool]) -> list[FeatureStep]:
    """An MSR that a bit brings: it is not there before, then it is; and values to write."""
    return [msr(number, None, BAD), msr(number, None, GOOD, offer),
            *(msr(number, value, faults) for value, faults in writes)]


MSRS = (
    msr(OS_ID, None, BAD), msr(HYPERCALL, None, BAD),
    msr(OS_ID, LINUX, GOOD, feature(EAX, 5)), msr(OS_ID, None, GOOD), msr(HYPERCALL, None, GOOD),
    *offered(RUNTIME, feature(EAX, 0), (1, BAD)),
    *offered(REFERENCE_COUNT, feature(EAX, 1), (1, BAD)),
    *offered(VP_INDEX, feature(EAX, 6), (1, BAD)), *offered(RESET, feature(EAX, 7), (0, GOOD)),
    *offered(REFERENCE_PAGE, feature(EAX, 9), (0, GOOD)),
    *offered(END_OF_MESSAGE, feature(EAX, 2), (0, GOOD)),
    *offered(TIMER, feature(EAX, 3), (0, GOOD), (DIRECT, BAD)),
    msr(TIMER, DIRECT, GOOD, feature(EDX, 19)),
    msr(EOI, None, BAD), msr(EOI, 1, GOOD, feature(EAX, 4)),
    *offered(FREQUENCY, feature(EAX, 11), (1, BAD)),
    *offered(REENLIGHTENMENT, feature(EAX, 13), (1, GOOD)), msr(EMULATION_STATUS, 1, BAD),
    *offered(CRASH, feature(EDX, 10), (1, GOOD)),
    # what the suite's next ones switch on, the synthetic debugger, no profile offers
    msr(DEBUGGER, None, BAD),
    *offered(INVARIANT, feature(EAX, 15), (0xDEADBEEF, BAD), (1, GOOD)),
)

SUCCESS, NO_CODE, NO_INPUT, PARAMETER, DENIED = 0, 2, 3, 5, 6
FAST = 1 << 16
POST, SIGNAL, RESET_DEBUGGER, FLUSH, FLUSH_EX, SEND, SEND_EX, SPIN, CAPABILITIES = (
    0x5C, 0x5D, 0x6B, 0x2, 0x13, 0xB, 0x15, 0x8, 0x8001)


def call(control: int, status: int | None, *offers: tuple[int, int, int]) -> FeatureStep:
    """A hypercall and its status; None: #UD."""
    return FeatureStep(offers, "guest_hcall", f"hypercall {control:#x}",
                struct.pack("<QQ?", control, status or 0, status is None))


def hint(register: int, bit: int) -> tuple[int, int, int]:
    """A bit of leaf 0x40000004."""
    return HINTS, register, bit


CALLS = (
    call(0xBEEF, NO_CODE, feature(EAX, 5)),
    call(POST, DENIED), call(POST, NO_INPUT, feature(EBX, 4)),
    call(SIGNAL, DENIED), call(SIGNAL, NO_INPUT, feature(EBX, 5)), call(RESET_DEBUGGER, NO_CODE),
    call(FLUSH, DENIED), call(FLUSH, SUCCESS, hint(EAX, 2)),
    call(FLUSH_EX, DENIED), call(FLUSH_EX, SUCCESS, hint(EAX, 11)),
    call(SEND, DENIED), call(SEND, NO_INPUT, hint(EAX, 10)), call(SEND_EX, SUCCESS),
    call(SPIN, DENIED), call(SPIN, SUCCESS, hint(EBX, 0)),
    call(FLUSH | FAST, None), call(FLUSH | FAST, SUCCESS, feature(EDX, 4)),
    call(CAPABILITIES, DENIED), call(CAPABILITIES | FAST, PARAMETER, feature(EBX, 20)),
)


def leaves(steps: tuple[FeatureStep, ...]) -> Leaves:
    """The leaves with all that these steps offer."""
    found = {FEATURES: [0] * 4, HINTS: [0] * 4}
    for step in steps:
        for leaf, register, bit in step.offers:
            found[leaf][register] |= 1 << bit
    # the invariant TSC that its MSR shows or hides is the processor's
    return {POWER: (0, 0, 0, 1 << 8),
            **{leaf: (eax, ebx, ecx, edx) for leaf, (eax, ebx, ecx, edx) in found.items()}}


def machine(test: Selftest, steps: tuple[FeatureStep, ...], place: int, moves: bool) -> None:
    """A new machine for the last of the steps; place has three pages."""
    board, step = test.board, steps[-1]
    board.options |= {"enforce_cpuid": True, "cpuid": {
        **board_leaves(board.profile, board.cpus), **leaves(steps)}}
    board.power_on()
    test.write(place, step.given.ljust(0x3000, b"\0"))
    test.start(step.entry, *((place,) if step.entry == "guest_msr" else (place + 0x1000, place)))
    test.notes.append(f"stage {len(test.notes) + 1}: {step.name}")
    if moves:
        board.move()


def hyperv_features(test: Selftest, moves: bool) -> None:
    """Each step is a machine of its own; the guest asserts, and says when it is done."""
    left = [table[:n + 1] for table in (MSRS, CALLS) for n in range(len(table))]
    place = [test.page() for _ in range(3)][0]

    def done() -> bool:
        if not left:
            return False
        machine(test, left.pop(0), place, moves)
        return True

    test.on_done = done
    done()
