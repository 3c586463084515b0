# SPDX-License-Identifier: GPL-2.0-only
"""v4.19's own KVM as L1: it loads, runs guests, unloads; what goes wrong ends in one line."""

import ctypes
import gc
import threading
from pathlib import Path

import pytest

from kvm_vmx import KernelBug, Machine, MachineError
from kvm_vmx.abi.numbers import ExitReason
from kvm_vmx.errors import BuildError
from kvm_vmx.kernel import build
from kvm_vmx.kernel.exit_counts import exit_counts, of_vcpu
from kvm_vmx.kernel.kernel import Kernel

LOOP = bytes.fromhex("31c0" "0fa2" "ebfa")
UNTIL_HLT = bytes.fromhex("b90a000000" "31c0" "51" "0fa2" "59" "ffc9" "75f6" "f4")


@pytest.mark.parametrize("enlightened", [True, False])
def test_a_guest_runs_to_its_end_and_everything_is_given_back(kernel, enlightened):
    before, left = kernel.allocations, []
    for _ in range(3):
        kvm = kernel.insmod(enlightened)
        assert kvm.enable_evmcs == enlightened
        summary = kvm.create_vm(UNTIL_HLT).create_vcpu(0).run()
        assert summary.reason == "HLT"
        assert summary.reasons[ExitReason.CPUID] == 10
        kvm.rmmod()
        left.append(kernel.allocations)
    # the areas of a CPU are vmlinux's, and stay from the first time on
    assert left[0]["objects"] == before["objects"] and left[0] == left[1] == left[2]
    assert kernel.warnings == 0 and kernel.lints == []
    assert ("using Hyper-V Enlightened VMCS" in "".join(kernel.dmesg)) == enlightened


def test_an_exit_costs_what_it_does_with_the_port(image):
    def port(enlightened):
        with Machine(1, insn="call") as m:
            return of_vcpu(m, m.insmod(enlightened).create_vm(LOOP).create_vcpu())

    for enlightened, expected in ((True, (0, 0, 1)), (False, (7, 1, 1))):
        counts = exit_counts(image, enlightened)
        assert counts == port(enlightened)
        assert (counts["vmread"], counts["vmwrite"], counts["vmresume"]) == expected


def test_run_stops_after_so_many_exits_and_goes_on(kernel):
    vcpu = kernel.insmod().create_vm(LOOP).create_vcpu(1)
    for exits in (1, 7, 100):
        summary = vcpu.run(exits=exits)
        assert (summary.exits, summary.reason) == (exits, "INTR")
        assert summary.reasons[ExitReason.CPUID] == exits


def test_registers_come_and_go_by_ioctl(kernel):
    vcpu = kernel.insmod().create_vm(LOOP).create_vcpu(0)
    vcpu.regs.update(rbx=0x1234, r15=-1)
    assert (vcpu.regs["rbx"], vcpu.regs["r15"]) == (0x1234, (1 << 64) - 1)
    assert vcpu.sregs["cs"]["l"] == 1
    with pytest.raises(KeyError, match="no register 'eax': there are rax, "):
        vcpu.regs.update(eax=1)


def test_a_port_output_is_told(kernel):
    summary = kernel.insmod().create_vm(bytes.fromhex("b041" "66baf803" "ee")).create_vcpu(0).run()
    assert summary.reason == "IO"
    assert summary.data == {"direction": "out", "size": 1, "port": 0x3f8, "data": 0x41}


def test_hotplug_moves_a_vcpu(kernel):
    kvm = kernel.insmod()
    vcpu = kvm.create_vm(LOOP).create_vcpu(1)
    vcpu.run(exits=3)
    kernel.offline(1)
    assert kernel.processor(1).mode == "no VMX"
    vcpu.cpu = 0
    assert vcpu.run(exits=3).exits == 3
    kernel.online(1)
    assert kernel.processor(1).mode == "VMX root"


@pytest.mark.parametrize("point", ["page", "kmalloc"])
def test_no_step_that_fails_leaves_a_kernel_that_dies(kernel, point):
    """Each allocation of loading fails in turn: the errno comes back, the next load works."""
    for nth in range(1, 100):
        kernel.fail(point, nth)
        try:
            kvm = kernel.insmod()
        except OSError as error:
            assert error.errno in (12, 14)
        else:
            kernel.fail(point, 0)
            kvm.rmmod()
            break
    else:
        pytest.fail("loading takes no end of allocations")
    assert nth > 3
    kernel.insmod().rmmod()


def test_a_kernel_that_dies_says_where_and_the_process_lives(image):
    with Kernel(image, 1) as kernel:
        kvm = kernel.insmod()
        vcpu = kvm.create_vm(LOOP).create_vcpu(0)
        with pytest.raises(KernelBug, match=r"^(a page fault|a general protection fault) in \w+"):
            kernel.image.call("standin_run_page", 3 << 20)
        assert kernel.oopsed
        with pytest.raises(KernelBug, match="close the kernel and boot another"):
            vcpu.run(exits=1)
    with Kernel(image, 1) as kernel:
        assert kernel.insmod().create_vm(UNTIL_HLT).create_vcpu(0).run().reason == "HLT"


def test_a_kernel_that_loops_is_stopped_in_its_function_and_the_process_lives(image):
    """The first CPUID exit comes to a function that is made to jump to itself."""
    with Kernel(image, 1, patience=0.05) as kernel:
        vcpu = kernel.insmod().create_vm(LOOP).create_vcpu(0)
        assert vcpu.run(exits=5).exits == 5
        place = kernel.image.elf.symbols["kvm_emulate_cpuid"]
        page = place & ~0xFFF
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(0x2000), 7) == 0
        ctypes.memmove(place, b"\xeb\xfe", 2)
        with pytest.raises(KernelBug, match=r"^a loop without an end in kvm_emulate_cpuid$"):
            vcpu.run(exits=5)
        assert kernel.oopsed
    with Kernel(image, 1, patience=0.05) as kernel:
        vcpu = kernel.insmod().create_vm(LOOP).create_vcpu(0)
        # what goes on is let be, however long it takes
        assert vcpu.run(exits=30_000).exits == 30_000


def test_rounds_of_load_and_unload_leave_nothing(image, soak):
    with Kernel(image, 2) as kernel:
        left, mapped = [], []
        for n in range(1000 if soak else 100):
            kvm = kernel.insmod(enlightened_vmcs=n % 2 == 0)
            assert kvm.create_vm(UNTIL_HLT).create_vcpu(n % 2).run().reason == "HLT"
            kvm.rmmod()
            left.append(kernel.allocations)
            mapped.append(len(Path("/proc/self/maps").read_text().splitlines()))
        assert left[1:] == left[1:2] * (len(left) - 1)
        # a map that a round leaves is there ninety times; Python's own memory takes one at times
        assert max(mapped[10:]) <= max(mapped[:10]) + 8
        assert kernel.warnings == 0


def test_calls_from_two_threads_come_one_after_the_other(kernel):
    """Each vCPU is run by a thread of its own, on a CPU of its own."""
    vm = kernel.insmod().create_vm(LOOP)
    vcpus = [vm.create_vcpu(cpu) for cpu in (0, 1)]
    found = [[], []]

    def runner(which):
        for _ in range(20):
            found[which].append(vcpus[which].run(exits=10).exits)

    threads = [threading.Thread(target=runner, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[10] * 20] * 2
    assert kernel.warnings == 0 and kernel.lints == []


def test_what_has_no_stand_in_ends_the_kernel_by_its_name(kernel):
    with pytest.raises(KernelBug, match="vmlinux's vm_mmap is called, and has no stand-in in "):
        kernel.image.call("vm_mmap")


def test_a_jump_to_nowhere_names_the_function_that_jumped(image):
    with Kernel(image, 1) as kernel:
        kernel.image.elf.symbols["nowhere"] = 0x1000
        with pytest.raises(KernelBug, match="a page fault"):
            kernel.image.call("standin_call", 0x1000)


def test_one_kernel_at_a_time(kernel, image):
    with pytest.raises(MachineError, match="another kernel is loaded in this process"):
        Kernel(image, 1)


def test_kernel_and_port_stand_side_by_side(kernel):
    with Machine(1) as m:
        ours = m.insmod().create_vm(LOOP).create_vcpu()
        theirs = kernel.insmod().create_vm(LOOP).create_vcpu(0)
        for _ in range(3):
            assert (ours.run(exits=5).exits, theirs.run(exits=5).exits) == (5, 5)


def test_bad_input_is_one_line(kernel, tmp_path):
    with pytest.raises(ValueError, match="no parameter 'nonsense': there are"):
        kernel.insmod(nonsense=1)
    kvm = kernel.insmod()
    with pytest.raises(MachineError, match="kvm_intel is loaded"):
        kernel.insmod()
    with pytest.raises(ValueError, match="give a number of 1 or more"):
        kvm.create_vm(LOOP).create_vcpu(0).run(exits=0)
    kvm.rmmod()
    with pytest.raises(MachineError, match="unloaded"):
        kvm.create_vm(LOOP)
    (tmp_path / "image").write_bytes(b"no image")
    with pytest.raises(BuildError, match="is no image"):
        Kernel(tmp_path / "image")


def test_a_closed_kernel_says_so(image):
    kernel = Kernel(image, 1)
    kernel.close()
    kernel.close()
    with pytest.raises(MachineError, match="the machine is closed"):
        kernel.insmod()
    gc.collect()


@pytest.mark.parametrize("tree, said", [
    ("/nonexistent", "no kernel tree '/nonexistent'"),
    (".", r"\. is no kernel tree: it has no arch/x86/kvm/Makefile"),
])
def test_what_is_no_tree_is_said(tree, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(build.CACHE, str(tmp_path / "cache"))
    with pytest.raises(BuildError, match=said):
        build.build(tree)
