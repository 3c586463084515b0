# SPDX-License-Identifier: GPL-2.0-only
"""The host's part of the KVM selftests whose guest code is an L1, and what each is to show."""

import dataclasses
from collections.abc import Callable

from kvm_vmx.boot.board import TSC_HZ, TSC_SHIFT
from kvm_vmx.boot.devices import Ended
from kvm_vmx.boot.selftest import Failed, Selftest, Ucall
from kvm_vmx.boot.selftest_features import hyperv_features
from kvm_vmx.words import unknown

UD, NMI, SS, GP, DF = 6, 2, 12, 13, 8
VMX_PAGES = 6
XSAVE = 1 << 26
L2_PORT = 0x2000
SS_ERROR = 0xDEADBEEF
TRIPLE_FAULT = 0xAA     # the number that the guest has for it
MAXPHYADDR, PAGE = 46, 0x1000
SECOND = TSC_HZ >> TSC_SHIFT        # in instructions


@dataclasses.dataclass(frozen=True)
class Case:
    """A test: its file, the profile it asks for, its host's part, and whether its machine moves
    at each stage; cannot says why it does not run here, note what of it is left out; lacks is what
    of CPUID.1:ECX it runs without."""

    name: str
    profile: str
    host: Callable[[Selftest, bool], None] | None = None
    cannot: str = ""
    note: str = ""
    lacks: int = 0


def stages(test: Selftest, moves: bool, at: Callable[[int, Ucall], None] | None = None,
           inside: bool = True) -> None:
    """Stages are to come in their order; at each the machine moves, as if to another host."""
    seen = [0]

    def sync(said: Ucall) -> None:
        seen[0] += 1
        if inside and said.args[1] != seen[0]:
            raise Failed(f"stage {said.args[1]} instead of {seen[0]}")
        where = ", in L2" if said.in_guest else ""
        test.notes.append(f"stage {seen[0]}{where}")
        if moves:
            before = test.board.processors[0].registers
            test.board.move()
            if test.board.processors[0].registers != before:
                raise Failed(f"other registers after the move at stage {seen[0]}")
        if at is not None:
            at(seen[0], said)

    test.on_sync = sync


def hyperv_evmcs(test: Selftest, moves: bool) -> None:
    """An NMI at stage 8, before L2 has run again; two moves at stage 9."""
    def at(stage: int, said: Ucall) -> None:
        if stage == 8:
            test.board.processors[0].processor.pending_nmi = True
        elif stage == 9 and moves:
            test.board.move()

    stages(test, moves, at)
    test.handler(UD, "guest_ud_handler")
    test.handler(NMI, "guest_nmi_handler")
    # before hyperv_test_pages, the pages of Hyper-V stood behind the others
    old = "evmcs_enable" not in test.symbols and not test.has_printf
    pages = test.pages(VMX_PAGES + 2 if old else VMX_PAGES)
    test.start("guest_code", pages, test.pages(3), test.page())


def vmx_pages_only(entry: str) -> Callable[[Selftest, bool], None]:
    """A test whose guest code takes the VMX pages, and whose stages are numbered."""
    def host(test: Selftest, moves: bool) -> None:
        stages(test, moves)
        test.start(entry, test.pages(VMX_PAGES))
    return host


def preemption_timer(test: Selftest, moves: bool) -> None:
    """At stage 2 the guest tells when the timer fired: not early for L1, nor late for L2."""
    def at(stage: int, said: Ucall) -> None:
        if stage != 2:
            return
        _, _, l1_at, l1_due, l2_at, l2_due = said.args[:6]
        test.notes.append(f"L1 {l1_at} of {l1_due}, L2 {l2_at} of {l2_due}")
        if l1_at < l1_due or l2_at >= l2_due:
            raise Failed(f"the timer fired at {l1_at} instead of {l1_due} (L2: {l2_at}, {l2_due})")

    stages(test, moves, at)
    test.start("guest_code", test.pages(VMX_PAGES))


def tsc_adjust(test: Selftest, moves: bool) -> None:
    """Reports of what IA32_TSC_ADJUST is; the guest asserts."""
    stages(test, moves, inside=False)
    test.start("l1_guest_code", test.pages(VMX_PAGES))


class L2Port:
    """A port that L2 reads and L1 does not intercept."""

    def __init__(self, answer: Callable[[], None]):
        self.answer = answer

    def read(self, offset: int, size: int) -> int:
        """What the test does there."""
        self.answer()
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """Nothing."""


def close_while_nested(test: Selftest, moves: bool) -> None:
    """The machine goes away while L2 runs."""
    def end() -> None:
        if not test.board.processors[0].in_guest:
            raise Failed("the access to the port is not L2's")
        raise Ended(0)

    test.board.ports.add(L2_PORT, 1, L2Port(end))
    test.start("l1_guest_code", test.pages(VMX_PAGES))


def nested_exceptions(test: Selftest, moves: bool) -> None:
    """Each sync asks for the next vector; the host queues #SS, as a new fault or injected."""
    wanted = iter((SS, GP, DF, TRIPLE_FAULT))

    def sync(said: Ucall) -> None:
        vector = said.args[1]
        due = next(wanted, None)
        if vector != due:
            raise Failed(f"the guest asks for {vector:#x} instead of {due}")
        test.notes.append(f"vector {vector:#x}")
        if moves:
            test.board.move()
        test.board.processors[0].queue_exception(SS, SS_ERROR, injected=vector != SS)

    test.on_sync = sync
    test.start("l1_guest_code", test.pages(VMX_PAGES))


def apic_access(test: Selftest, moves: bool) -> None:
    """An APIC-access page that is memory, and one that is not: L2 touches neither, and leaves by
    its VMCALL. Where the second is no memory, KVM's host part asks for an error of KVM's own."""
    beyond = (1 << MAXPHYADDR) - 2 * PAGE
    # behind the EPT's; before hyperv_test_pages, two of Hyper-V stood between
    number = VMX_PAGES + (1 if test.has_printf else 3)
    pages = test.pages(number + 1)
    # an EPT pointer would ask for one
    test.write(pages + 24 * (number - 1), bytes(24))
    wanted = iter((test.word(pages + 24 * number + 8), beyond))

    def sync(said: Ucall) -> None:
        if said.args[1] != (due := next(wanted, None)):
            raise Failed(f"an APIC-access page at {said.args[1]:#x} instead of {due}")
        test.notes.append(f"page {said.args[1]:#x}")
        if moves:
            test.board.move()

    test.on_sync = sync
    test.start("l1_guest_code", pages, beyond)


def tsc_scaling(test: Selftest, moves: bool) -> None:
    """L1's TSC as the board has it, L2's four times as fast; within 1 in 100."""
    heard: dict[int, int] = {}

    def sync(said: Ucall) -> None:
        what, value = said.args[:2]
        if what == 0:
            test.board.processors[0].let_pass(value * SECOND)
            return
        heard[what] = value
        due = TSC_HZ if what == 1 else 4 * heard[1]
        test.notes.append(f"{'L1' if what == 1 else 'L2'} {value} Hz")
        if abs(value - due) * 100 > due:
            raise Failed(f"a TSC of {value} Hz instead of {due}")

    test.on_sync = sync
    test.start("l1_guest_code", test.pages(VMX_PAGES))


HOST_ONLY = "all of it is the host's, about ioctls of KVM: there is no guest code to run"
CASES = (
    Case("hyperv_evmcs", "kvm-6.12", hyperv_evmcs),
    Case("evmcs_test", "kvm-6.12", hyperv_evmcs),
    # where there is XSAVE it uses AVX, without asking
    Case("state_test", "bare", vmx_pages_only("guest_code"), lacks=XSAVE),
    Case("vmx_preemption_timer_test", "bare", preemption_timer),
    Case("vmx_tsc_adjust_test", "bare", tsc_adjust),
    Case("vmx_close_while_nested_test", "bare", close_while_nested),
    Case("nested_exceptions_test", "bare", nested_exceptions),
    Case("vmx_nested_tsc_scaling_test", "bare", tsc_scaling),
    Case("vmx_set_nested_state_test", "bare", cannot=HOST_ONLY),
    Case("vmx_exception_with_invalid_guest_state", "bare", cannot="it asks for a host without "
         "unrestricted guest, and for what KVM does when its user makes the state of L1 invalid"),
    Case("vmx_invalid_nested_guest_state", "bare", cannot="it expects the triple fault that KVM "
         "makes of a state of L2 that its user has made invalid by an ioctl"),
    Case("triple_fault_event_test", "bare", cannot="it is about the event that an ioctl of KVM "
         "queues"),
    Case("vmx_apic_access_test", "bare", apic_access, note="to the guest's own end; where the "
         "page is no memory, its host part asks for an error of KVM's emulator instead"),
    Case("vmx_dirty_log_test", "bare", cannot="what it asks is in KVM's own log of dirty pages; "
         "the board has none"),
    Case("hyperv_features", "kvm-6.12", hyperv_features, note="64 stages, each a machine of its "
         "own; without the four that switch on the synthetic debugger, which no profile offers, "
         "and one about a capability of KVM's"),
)


def find(name: str) -> Case:
    """The case of that name; ValueError with those there are."""
    for case in CASES:
        if case.name == name:
            return case
    raise ValueError(unknown("selftest", name, (case.name for case in CASES)))
