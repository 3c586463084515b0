# SPDX-License-Identifier: GPL-2.0-only
"""Every exit that a guest can cause, through KVM: the same sequence under VMCS and eVMCS, under
every cache policy, and the one that v4.19's handlers lead to."""

import re

import pytest
from each import write_field
from guests import CODE, DATA, IDT, STACK, TABLES, Run, everywhere, skipping
from kernels import anywhere as anywhere

from kvm_vmx import Machine

EXCEPTION, EXTERNAL, TRIPLE, INTR_WINDOW, NMI_WINDOW, CPUID, HLT, INVD, INVLPG, RDPMC, RDTSC = (
    0, 1, 2, 7, 8, 10, 12, 13, 14, 15, 16)
VMCALL, CR, DR, IO, RDMSR, WRMSR = 18, 28, 29, 30, 31, 32
MWAIT, MTF, MONITOR, PAUSE = 36, 37, 39, 40
EPT_VIOLATION, EPT_MISCONFIG, WBINVD = 48, 49, 54
UD, GP, NM, DB, NMI = 6, 13, 7, 1, 2

RDTSC_EXITING, INVLPG_EXITING, PAUSE_EXITING, TRAP = 1 << 12, 1 << 9, 1 << 30, 1 << 27
CR3_EXITING = 3 << 15


def to_user_space(run):
    """Run until user space is asked; what for."""
    summary = run.vcpu.run(exits=100)
    return summary.reason, summary.data


# (name, code up to its HLT, handlers, exits before the HLT as (reason, qualification, offset),
#  exceptions that the guest has handled)
HANDLED = [
    ("CPUID", "b800000000 0fa2", {}, [(CPUID, 0, 5)], {}),
    ("VMCALL", "b805000000 0f01c1", {}, [(VMCALL, 0, 5)], {}),
    ("RDMSR", "b977020000 0f32", {}, [(RDMSR, 0, 5)], {}),
    ("WRMSR", "b977020000 b806000000 31d2 0f30", {}, [(WRMSR, 0, 12)], {}),
    ("RDMSR of nothing", "b934120000 0f32", {GP: skipping(2, True)}, [(RDMSR, 0, 5)], {GP: 1}),
    ("WRMSR of nothing", "b934120000 0f30", {GP: skipping(2, True)}, [(WRMSR, 0, 5)], {GP: 1}),
    ("WRMSR of a bad value", "b9800000c0 b8ffffffff 89c2 0f30", {GP: skipping(2, True)},
     [(WRMSR, 0, 12)], {GP: 1}),
    ("MOV to CR0", "0f20c0 0d00000100 0f22c0", {}, [(CR, 0x000, 8)], {}),
    ("MOV to CR0 of a bad value", "0f20c0 25feffffff 0f22c0", {GP: skipping(3, True)},
     [(CR, 0x000, 8)], {GP: 1}),
    ("MOV to CR4", "0f20e3 81cb40000000 0f22e3", {}, [(CR, 0x304, 9)], {}),
    ("MOV to CR4 of a bad value", "31db 0f22e3", {GP: skipping(3, True)}, [(CR, 0x304, 2)],
     {GP: 1}),
    ("MOV from CR8", "440f20c0", {}, [(CR, 0x018, 0)], {}),
    ("MOV to CR3", "0f20d8 0f22d8", {}, [], {}),
    ("CLTS", "0f06", {}, [], {}),
    ("MOV to CR4 of a bit that KVM leaves", "0f20e3 81cb80000000 0f22e3", {}, [], {}),
    ("LMSW", "b839000000 0f01f0 0f20c3", {}, [], {}),
    ("LMSW of a bit that KVM owns", "b833000000 0f01f0", {}, [(CR, 0x330030, 5)], {}),
    ("RDPMC", "31c9 0f33", {GP: skipping(2, True)}, [(RDPMC, 0, 2)], {GP: 1}),
    ("WBINVD", "0f09", {}, [(WBINVD, 0, 0)], {}),
    ("MONITOR, MWAIT", "b800580000 0f01c8 0f01c9", {}, [(MONITOR, 0, 5), (MWAIT, 0, 8)], {}),
    ("UD2", "0f0b", {UD: skipping(2)}, [(EXCEPTION, 0, 0)], {UD: 1}),
    ("VMXOFF", "0f01c4", {UD: skipping(3)}, [(26, 0, 0)], {UD: 1}),
    ("VMLAUNCH", "0f01c2", {UD: skipping(3)}, [(20, 0, 0)], {UD: 1}),
    ("VMREAD", "0f78c3", {UD: skipping(3)}, [(23, 0, 0)], {UD: 1}),
    ("VMPTRLD", "0fc73425 00580000", {UD: skipping(8)}, [(21, 0x5800, 0)], {UD: 1}),
    ("INVEPT", "66 0f3880 0425 00580000", {UD: skipping(10)}, [(50, 0x5800, 0)], {UD: 1}),
    ("RDTSC without an exit", "0f31 31c0 31d2", {}, [], {}),
    ("INVLPG without an exit", "0f013c25 00580000", {}, [], {}),
    ("PAUSE without an exit", "f390", {}, [], {}),
    ("INT3 that the guest handles", "cc", {3: ""}, [], {3: 1}),
    ("INT n", "cd40", {0x40: ""}, [], {0x40: 1}),
    ("a page fault of its own", "488b0425 00000040", {14: skipping(8, True)}, [], {14: 1}),
    ("INT1", "f1", {DB: ""}, [(EXCEPTION, 0, 0)], {DB: 1}),
]
# CR0.WP is the guest's own where EPT is on, since "KVM: VMX: Make CR0.WP a guest owned bit" (6.4,
# and 6.1 stable).
LEFT_LATER = {"MOV to CR0"}


@pytest.mark.sweep(3)
@pytest.mark.parametrize("name, code, handlers, exits, handled", HANDLED,
                         ids=[row[0] for row in HANDLED])
def test_exits_that_kvm_handles(anywhere, name, code, handlers, exits, handled):
    code = code.replace(" ", "")
    first = anywhere(to_user_space, code + "f4", handlers)
    if name in LEFT_LATER and anywhere.is_later:
        exits = []
    assert first[0] == ("HLT", {})
    assert first[1] == anywhere.known([*exits, (HLT, 0, len(code) // 2)])
    counts = {vector: n for vector, n in enumerate(first[4][DATA:DATA + 256]) if n}
    assert counts == handled
    assert first[2]["rip"] == CODE + len(code) // 2 + 1 and first[2]["rsp"] == STACK


def test_what_some_of_them_leave_behind(anywhere):
    # KVM knows no hypercall 0x77: -KVM_ENOSYS; 5 kicks a vCPU, offered or not
    for number, answer in (("77", (1 << 64) - 1000), ("05", 0)):
        first = anywhere(to_user_space, f"b8{number}000000" "0f01c1" "f4")
        assert first[2]["rax"] == answer
    first = anywhere(to_user_space, "b909000000" "31c0" "0f22e0" "f4", {GP: skipping(3, True)})
    assert first[3]["cr4"] == 0x20
    first = anywhere(to_user_space, "b977020000" "b806000000" "31d2" "0f30" "31c0" "0f32" "f4")
    assert first[2]["rax"] == 6
    # TS is the guest's own, MP is KVM's to set
    first = anywhere(to_user_space, "b83b000000" "0f01f0" "0f20c3" "f4")
    assert first[2]["rbx"] & 0xF == 0xB and first[3]["cr0"] & 0xF == 0xB


def test_cr8_without_an_apic_in_the_kernel(anywhere):
    """A lower priority goes to user space, which has the APIC."""
    def script(run):
        return [to_user_space(run) for _ in range(2)]

    code = "b80a000000" "440f22c0" "b803000000" "440f22c0" "440f20c3" "f4"
    first = anywhere(script, code)
    assert first[0] == [("SET_TPR", {}), ("HLT", {})]
    assert first[1] == anywhere.known(
        [(CR, 0x008, 5), (CR, 0x008, 14), (CR, 0x318, 18), (HLT, 0, 22)])
    assert (first[2]["rbx"], first[3]["cr8"]) == (3, 3)


IO_EXITS = [
    ("e680", {"direction": "out", "size": 1, "port": 0x80, "data": 0x44}, 0x800040),
    ("66e780", {"direction": "out", "size": 2, "port": 0x80, "data": 0x3344}, 0x800041),
    ("e780", {"direction": "out", "size": 4, "port": 0x80, "data": 0x11223344}, 0x800043),
    ("66baf803ee", {"direction": "out", "size": 1, "port": 0x3F8, "data": 0x44}, 0x3F80000),
]


@pytest.mark.parametrize("code, data, qualification", IO_EXITS)
def test_out_goes_to_user_space(anywhere, code, data, qualification):
    first = anywhere(to_user_space, "b844332211" + code + "f4")
    assert first[0] == ("IO", data)
    assert first[1] == anywhere.known([(IO, qualification, len("b844332211" + code) // 2 - (
        1 if code.endswith("ee") else len(code) // 2))])
    # v4.19 has advanced RIP already; later ones do as the run goes on, but for port 0x7E
    done = 0 if anywhere.is_later else len(code) // 2
    if code.endswith("ee") and anywhere.is_later:
        done = len(code) // 2 - 1
    assert first[2]["rip"] == CODE + 5 + done


@pytest.mark.parametrize("code, size", [("e460", 1), ("66e560", 2), ("e560", 4)])
def test_in_without_a_device(anywhere, code, size):
    def script(run):
        return [to_user_space(run) for _ in range(2)]

    first = anywhere(script, "b800000000" + code + "f4")
    assert [reason for reason, _ in first[0]] == ["IO", "HLT"]
    assert first[0][0][1]["direction"] == "in" and first[0][0][1]["size"] == size
    assert first[2]["rax"] == (1 << 8 * size) - 1


@pytest.mark.parametrize("code", ["66ba8000" "6c", "0f08"], ids=["INSB", "INVD"])
def test_what_takes_the_emulator(anywhere, code):
    """An internal error of the port: emulation failed, RIP where it was. x86_emulate_insn() has
    both, and user space is asked for the port's byte."""
    first = anywhere(to_user_space, "bf00580000" "be00580000" "b902000000" + code + "f4")
    if not anywhere.is_port:
        kind = {"direction": "in", "size": 1, "port": 0x80, "data": None}
        assert first[0] == (("IO", kind) if code.endswith("6c") else ("HLT", {}))
        return
    assert first[0] == ("INTERNAL_ERROR", {"suberror": 1, "data": []})
    assert first[1][-1][0] in (IO, INVD) and first[2]["rip"] == CODE + first[1][-1][2]


def test_debug_registers_leave_once(anywhere):
    """v4.19 stops intercepting them until the next exit, which reads them back."""
    code = "b834120000" "0f23c0" "0f23d0" "0f21c3" "0fa2" "0f21d3" "f4"
    first = anywhere(to_user_space, "48c7c034120000" + code[10:])
    assert first[1] == anywhere.known(
        [(DR, 0x000, 7), (CPUID, 0, 16), (DR, 0x312, 18), (HLT, 0, 21)])
    assert first[2]["rbx"] == 0x1234


def test_debug_registers_of_two_vcpus_do_not_mix(anywhere):
    def script(run):
        other = run.vm.create_vcpu(cpu=0)
        other.sregs = {**run.vcpu.sregs}
        run.vcpu.regs["rax"], other.regs["rax"] = 0x1111, 0x2222
        for _ in range(2):
            for vcpu in (run.vcpu, other):
                assert vcpu.run(exits=100).reason == "HLT"
        return run.vcpu.regs["rbx"], other.regs["rbx"]

    # set, halt; read, halt
    assert anywhere(script, "0f23c0" "f4" "0f21c3" "f4")[0] == (0x1111, 0x2222)


def test_triple_fault(anywhere):
    """No gate for #UD, and none for what follows."""
    first = anywhere(to_user_space, "0f0b")
    assert first[0] == ("SHUTDOWN", {})
    assert first[1] == anywhere.known([(EXCEPTION, 0, 0), (TRIPLE, 0, 0)])


# What KVM leaves to the guest, switched on with the port's own accessor

@pytest.mark.parametrize("name, bits, code, reason, qualification", [
    ("INVLPG", INVLPG_EXITING, "0f013c2500580000", INVLPG, 0x5800),
    ("PAUSE", PAUSE_EXITING, "f390", PAUSE, 0),
    ("MOV from CR3", CR3_EXITING, "0f20db", CR, 0x313),
])
def test_exits_of_other_configurations(anywhere, name, bits, code, reason, qualification):
    def script(run):
        run.control("cpu", bits)
        return to_user_space(run)

    # handle_cr() of CR3: WARN_ON_ONCE(enable_unrestricted_guest)
    first = anywhere(script, code + "f4", warns=name == "MOV from CR3")
    assert first[1] == anywhere.known([(reason, qualification, 0), (HLT, 0, len(code) // 2)])
    if name == "MOV from CR3":
        assert first[2]["rbx"] == TABLES


def test_an_exit_without_a_handler(anywhere):
    """RDTSC: v4.19 says so in the log and raises #UD; since 5.7 vmx_handle_exit() gives it to user
    space besides."""
    def script(run):
        run.control("cpu", RDTSC_EXITING)
        return to_user_space(run), [line for line in run.machine.dmesg if "unexpected" in line]

    first = anywhere(script, "0f31" "f4", {UD: skipping(2)})
    if anywhere.is_later:
        (reason, data), said = first[0]
        assert (reason, data["suberror"], data["data"][0]) == ("INTERNAL_ERROR", 4, RDTSC)
        assert first[1] == [(RDTSC, 0)] and len(said) == 1
        return
    assert first[1] == anywhere.known([(RDTSC, 0, 0), (HLT, 0, 2)])
    assert first[4][DATA + UD] == 1
    assert len(first[0][1]) == 1 and "unexpected exit reason 0x10" in first[0][1][0]


def test_monitor_trap(anywhere):
    def script(run):
        run.control("cpu", TRAP)
        summary = run.vcpu.run(exits=3)
        run.control("cpu", TRAP, on=False)
        return summary.reasons, to_user_space(run)

    first = anywhere(script, "90" "4889c3" "90" "f4")
    assert first[0] == ({MTF: 3}, ("HLT", {}))
    assert first[1] == anywhere.known([(MTF, 0, 1), (MTF, 0, 4), (MTF, 0, 5), (HLT, 0, 5)])


def test_exceptions_that_kvm_gives_to_user_space(anywhere):
    def script(run):
        run.control("exception", 1 << 3 | 1 << NM)
        return [to_user_space(run) for _ in range(1)]

    first = anywhere(script, "cc" "f4")
    assert first[0] == [("DEBUG", {"exception": 3, "error_code": 0})]
    first = anywhere(script, "0f20c0" "83c808" "0f22c0" "d9d0" "f4")
    # since 5.17 handle_exception_nmi() queues any #NM for the guest, which has no handler here
    assert first[0] == [("SHUTDOWN", {}) if anywhere.is_later else
                        ("EXCEPTION", {"exception": NM, "error_code": 0})]


# EPT

def test_a_page_outside_the_memory(anywhere):
    """Device memory for KVM: its emulator hands the access to user space."""
    # the guest's own PDE of the second 2 MByte: GPA 2 MByte and up
    code = "48c7042508f00000" "87002000" "488b042510002000" "f4"
    assert TABLES + 0x2000 == 0xF000
    first = anywhere(to_user_space, code)
    assert first[0] == ("MMIO", {"direction": "read", "size": 8, "address": 0x200010,
                                 "data": None})
    # read, linear address valid, not a page walk
    assert first[1] == anywhere.known([(EPT_VIOLATION, 0x181, 12)])


def ept_entry(run, gpa):
    """Where in L1's memory the last-level EPT entry of a GPA is; no translation is cached."""
    assert run.cpu.invept(2).ok
    table = run.vcpu.vmcs["EPT_POINTER"] & ~0xFFF
    for level in (3, 2, 1):
        place = table + 8 * (gpa >> (12 + 9 * level) & 511)
        table = int.from_bytes(run.machine.memory.read(place, 8), "little") & 0xFFFFFFFFFF000
    return table + 8 * (gpa >> 12 & 511)


@pytest.mark.parametrize("entry, reason, qualification", [
    (0, EPT_VIOLATION, 0x181), (2, EPT_MISCONFIG, 0)])
def test_an_entry_that_kvm_did_not_write(anywhere, entry, reason, qualification):
    def script(run):
        run.vcpu.run(exits=1)
        place = ept_entry(run, 0x9000)
        before = run.machine.memory.read(place, 8)
        run.machine.memory.write(place, entry.to_bytes(8, "little"))
        try:
            outcome = to_user_space(run)
        except OSError as error:
            outcome = error.errno
        run.machine.memory.write(place, before)
        return outcome

    bad = reason == EPT_MISCONFIG and not anywhere.is_port
    first = anywhere(script, "0fa2" "488b042508900000" "f4",
                     warns=bad and not anywhere.is_later)
    if bad:
        # handle_mmio_page_fault(): an entry that is no MMIO's is EINVAL in v4.19; later ones take
        # it for one that another CPU has zapped, and let the guest try again, however often
        assert first[0] == (("INTR", {}) if anywhere.is_later else 22)
        assert first[1] == [(CPUID, 0), *[(EPT_MISCONFIG, 0)] * (100 if anywhere.is_later else 1)]
        return
    if not anywhere.is_port:
        # kvm_mmu_page_fault() writes the entry anew
        assert first[0] == ("HLT", {}) and first[1] == [(CPUID, 0), (HLT, 0)]
        return
    assert first[0][0] == "INTERNAL_ERROR" and first[1][1:] == [(reason, qualification, 2)]
    assert first[0][1]["data"][0] == 0x9008


# Interrupts and NMIs of the host

def test_an_interrupt_of_the_host(anywhere):
    """It leaves, KVM lets the host handle it, and the guest goes on."""
    def script(run):
        run.cpu.interrupt(0x31, after=3)
        return to_user_space(run)

    first = anywhere(script, "90909090" "f4")
    assert first[0] == ("HLT", {}) and first[1] == anywhere.known(
        [(EXTERNAL, 0, 3), (HLT, 0, 4)])


def test_an_nmi_of_the_host(anywhere):
    def script(run):
        run.cpu.nmi(after=2)
        return to_user_space(run)

    assert anywhere(script, "90909090" "f4")[1] == anywhere.known(
        [(EXCEPTION, 0, 2), (HLT, 0, 4)])


def test_the_timer_of_the_host_ends_an_endless_loop(anywhere):
    def script(run):
        run.cpu.interrupt(0xEC, after=50_000)
        return run.vcpu.run(exits=1).reasons

    assert anywhere(script, "ebfe")[0] == {EXTERNAL: 1}


# Injection

def test_an_interrupt_for_the_guest(anywhere):
    """KVM_INTERRUPT once the guest is ready: vmx_inject_irq()."""
    def script(run):
        seen = [to_user_space(run), run.vcpu.ready_for_interrupt]
        run.vcpu.interrupt(0x40)
        return [*seen, to_user_space(run), run.vcpu.ready_for_interrupt]

    first = anywhere(script, "fb" "90" "f4" "90" "f4", {0x40: ""})
    assert first[0] == [("HLT", {}), True, ("HLT", {}), True]
    assert first[4][DATA + 0x40] == 1
    assert first[1] == anywhere.known(
        [(HLT, 0, 2), *anywhere.window(3), (HLT, 0, 4)])


def test_the_interrupt_window(anywhere):
    """User space asks to be told: the window exit, then KVM_EXIT_IRQ_WINDOW_OPEN."""
    def script(run):
        seen = [to_user_space(run), run.vcpu.ready_for_interrupt]
        run.vcpu.request_interrupt_window = True
        seen += [to_user_space(run), run.vcpu.ready_for_interrupt]
        run.vcpu.request_interrupt_window = False
        run.vcpu.interrupt(0x40)
        return [*seen, to_user_space(run)]

    # interrupts off, HLT; STI, one instruction of shadow
    first = anywhere(script, "f4" "fb" "90" "90" "f4", {0x40: ""})
    assert first[0] == [("HLT", {}), False, ("IRQ_WINDOW_OPEN", {}), True, ("HLT", {})]
    assert first[1] == anywhere.known(
        [(HLT, 0, 0), (INTR_WINDOW, 0, 3), *anywhere.window(3), (HLT, 0, 4)])
    assert first[4][DATA + 0x40] == 1


def test_an_nmi_for_the_guest(anywhere):
    def script(run):
        run.vcpu.nmi()
        return to_user_space(run)

    first = anywhere(script, "90" "f4", {NMI: ""})
    assert first[1] == anywhere.known([(HLT, 0, 1)]) and first[4][DATA + NMI] == 1


def test_the_nmi_window(anywhere):
    """A second NMI waits for the first one's IRET: the window exit lets it in."""
    def script(run):
        run.vcpu.nmi()
        run.vcpu.nmi()
        return to_user_space(run)

    first = anywhere(script, "90" "f4", {NMI: "90"})
    assert first[1] == anywhere.known([(NMI_WINDOW, 0, 0), (HLT, 0, 1)])
    assert first[4][DATA + NMI] == 2


def test_an_nmi_waits_for_the_shadow_of_sti(anywhere):
    """v4.19 then opens the interrupt window instead of the NMI window."""
    def script(run):
        seen = to_user_space(run)
        run.vcpu.nmi()
        return seen, to_user_space(run)

    # the exit between STI and HLT's successor
    first = anywhere(script, "fb" "f4" "90" "f4", {NMI: ""})
    assert first[4][DATA + NMI] == 1


def test_an_exception_with_an_error_code_reaches_its_handler(anywhere):
    def script(run):
        return to_user_space(run)

    # the handler pops the code into RBX
    first = anywhere(script, "b934120000" "0f32" "f4", {GP: "5b" + skipping(2)})
    assert first[2]["rbx"] == 0 and first[4][DATA + GP] == 1


def test_an_injection_that_a_host_event_interrupts_comes_again(anywhere):
    """vmx_complete_interrupts(): the EPT violation of a delivery names the event; KVM queues it
    again. The port gives up there, as nothing can emulate the access; a kernel's own KVM maps the
    page and goes on."""
    def script(run):
        seen = to_user_space(run)
        place = ept_entry(run, IDT)
        before = run.machine.memory.read(place, 8)
        run.machine.memory.write(place, bytes(8))
        run.vcpu.interrupt(0x40)
        violations = run.cpu.exit_reasons[EPT_VIOLATION]
        first = to_user_space(run)
        assert run.cpu.exit_reasons[EPT_VIOLATION] == violations + 1
        if not anywhere.is_port:
            return seen, first
        vectoring = run.vcpu.vmcs["IDT_VECTORING_INFO_FIELD"]
        # the page comes back: the interrupt is still queued, and is delivered
        run.machine.memory.write(place, before)
        return seen, first[0], vectoring, to_user_space(run)

    first = anywhere(script, "fb" "90" "f4" "90" "f4", {0x40: ""})
    if not anywhere.is_port:
        assert first[0] == (("HLT", {}), ("HLT", {})) and first[4][DATA + 0x40] == 1
        return
    assert first[0][1:] == ("INTERNAL_ERROR", 1 << 31 | 0x40, ("HLT", {}))
    assert first[4][DATA + 0x40] == 1
    assert [reason for reason, *_ in first[1]] == [HLT, EPT_VIOLATION, INTR_WINDOW, HLT]


def test_an_exception_during_a_delivery_becomes_a_double_fault(anywhere):
    """#UD is injected; its gate is bad, so is #GP's: the guest gets #DF."""
    def script(run):
        run.vm.memory.write(IDT + 16 * GP, bytes(16))
        return to_user_space(run)

    first = anywhere(script, "b934120000" "0f32" "f4", {8: "4883c410" "f4"})
    assert first[4][DATA + 8] == 1 and first[0] == ("HLT", {})


# Entry failures

def test_an_invalid_guest_state(anywhere):
    """Exit 33: KVM dumps the VMCS and hands it to user space."""
    def script(run):
        sregs = run.vcpu.sregs
        sregs["tr"]["type"] = 3
        run.vcpu.sregs = sregs
        summary = run.vcpu.run(exits=5)
        return summary.reason, summary.data, any("Guest State" in line
                                                 for line in run.machine.dmesg)

    first = anywhere(script, "f4")
    # later ones dump where their parameter dump_invalid_vmcs says so
    assert first[0] == ("FAIL_ENTRY", {"hardware_entry_failure_reason": 0x80000021},
                        not anywhere.is_later)


def test_a_control_that_the_processor_refuses(anywhere):
    """VMfailValid: user space gets the instruction error."""
    def script(run):
        run.control("cpu", 1 << 17)
        run.is_refused = True
        summary = run.vcpu.run(exits=5)
        return summary.reason, summary.data

    assert anywhere(script, "f4")[0] == (
        "FAIL_ENTRY", {"hardware_entry_failure_reason": 7})


def test_interrupts_that_the_guest_cannot_take(anywhere):
    """KVM_INTERRUPT while IF is clear: the entry checks refuse it."""
    def script(run):
        run.vcpu.interrupt(0x40)
        summary = run.vcpu.run(exits=5)
        return summary.reason, summary.data

    assert anywhere(script, "f4")[0] == (
        "FAIL_ENTRY", {"hardware_entry_failure_reason": 0x80000021})


def test_a_guest_that_starts_in_real_mode(anywhere):
    """As KVM resets it: unrestricted, no paging."""
    def script(run):
        sregs = run.vcpu.sregs
        for name in ("cs", "ds", "es", "fs", "gs", "ss"):
            sregs[name].update(base=0, limit=0xFFFF, selector=0, g=0, l=0, db=0)
        sregs.update(cr0=0x30, cr4=0, efer=0, cr3=0, idt={"base": 0, "limit": 0x3FF})
        run.vcpu.sregs = sregs
        run.vm.memory.write(0x21 * 4, (0x0900).to_bytes(4, "little"))
        run.vm.memory.write(0x900, bytes.fromhex("43cf"))
        return [to_user_space(run) for _ in range(2)]

    # mov ax,0x1234; out 0x80,ax; int 0x21; cpuid; hlt
    first = anywhere(script, "b83412" "e780" "cd21" "31c0" "0fa2" "f4")
    assert first[0] == [
        ("IO", {"direction": "out", "size": 2, "port": 0x80, "data": 0x1234}), ("HLT", {})]
    assert [reason for reason, *_ in first[1]] == [IO, CPUID, HLT]


def test_a_list_of_msrs_that_the_processor_cannot_load(anywhere):
    """An entry that fails behind its checks; under tlfs-strict an eVMCS has MSR lists too."""
    def script(run):
        smbase, page = 0x9E, run.machine.memory.size - 4096
        run.machine.memory.write(page, smbase.to_bytes(16, "little"))
        write_field(run.vcpu, 0x200A, page)
        write_field(run.vcpu, 0x4014, 1)
        summary = run.vcpu.run(exits=5)
        return summary.reason, summary.data

    assert anywhere(script, "f4", profile="tlfs-strict")[0] == (
        "FAIL_ENTRY", {"hardware_entry_failure_reason": 0x80000022})


def test_a_dump_reads_the_same_in_both_modes():
    """dump_vmcs(): each section, and what stands in the fields; only addresses and times differ."""
    def script(run):
        run.vcpu.run(exits=1)
        with run.cpu:
            run.kvm.port.dump_vmcs()
        lines = run.machine.dmesg
        dump = lines[lines.index("*** Guest State ***"):]
        sregs, regs = run.vcpu.sregs, run.vcpu.regs
        assert f"CR3 = {sregs['cr3']:#018x}" in dump
        assert f"RSP = {regs['rsp']:#018x}  RIP = {regs['rip'] - 1:#018x}" in dump
        assert any(line.startswith("CS:   sel=") for line in dump)
        assert "*** Host State ***" in dump and "*** Control State ***" in dump
        assert any(line.startswith("        reason=0000000c ") for line in dump)
        assert not any("PerfGlobCtl" in line for line in dump)
        return [re.sub(r"(?<=[=:x])[0-9a-f]{8,16}", "", line) for line in dump]

    assert len(everywhere(script, "f4")[0]) == 39


def test_a_dump_shows_perf_global_ctrl_where_the_processor_has_it():
    """v4.19's guards: the capability, and the control bit."""
    msrs = {0x484: 0x0000F3FF000011FF, 0x490: 0x0000F3FF000011FB,
            0x483: 0x003FFFFF00036DFF, 0x48F: 0x003FFFFF00036DFB}
    def script(run):
        run.machine.perf_guest_events(host=3, guest=5)
        run.vcpu.run(exits=1)
        with run.cpu:
            run.kvm.port.dump_vmcs()
        return [line for line in run.machine.dmesg if "PerfGlobCtl" in line]

    # under eVMCS the switch overwrites the revision (erratum: perf_global_ctrl), so this is plain
    with Machine(msrs=msrs) as machine:
        run = Run(machine, machine.insmod(enlightened_vmcs=False), "f4", {})
        assert script(run) == ["PerfGlobCtl = 0x0000000000000005",
                               "PerfGlobCtl = 0x0000000000000003"]
