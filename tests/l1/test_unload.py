# SPDX-License-Identifier: GPL-2.0-only
"""vmx_exit(): what it resets, what it leaves alone, and that nothing is left behind."""

import gc
import itertools

import pytest
import text
from images import compiled

from kvm_vmx import Machine
from kvm_vmx.machine.guests import CPUID_LOOP

pytestmark = pytest.mark.usefixtures("frozen")

PAGE = 4096
# struct hv_vp_assist_page: the two fields that vmx.c writes, and one that later kernels do
ENLIGHTEN_VMENTRY, CURRENT_NESTED_VMCS = slice(40, 44), slice(48, 56)
NESTED_CONTROL = slice(32, 40)


@pytest.fixture(params=[1, 2, 5])
def machine(request):
    with Machine(cpus=request.param) as machine:
        yield machine


@pytest.fixture(params=[1, 5])
def each_machine(request, kernel):
    """A machine of each kind of L1. What stands in for vmlinux keeps the room that a CPU's first
    vCPU needs: each CPU has had one."""
    with kernel(request.param) as machine:
        if not kernel.is_port:
            kvm = machine.insmod(enlightened_vmcs=False)
            run_everywhere(machine, kvm, exits=1)
            kvm.rmmod()
        yield machine


def pages(machine):
    """The whole assist page of each CPU."""
    return [bytearray(machine.memory.read(machine.assist_page_gpa(n), PAGE))
            for n in range(machine.cpus)]


def run_everywhere(machine, kvm, exits=10):
    """One vCPU on each CPU; their VMCS addresses."""
    vm = kvm.create_vm(code=CPUID_LOOP)
    vcpus = [vm.create_vcpu(cpu=n) for n in range(machine.cpus)]
    for vcpu in vcpus:
        assert vcpu.run(exits=exits).exits == exits
    return [vcpu.vmcs_gpa for vcpu in vcpus]


def scribble(machine):
    """Something that is not zero in every byte that the port has no business with."""
    for n, page in enumerate(pages(machine)):
        noise = bytearray((i * 7 + n * 13) % 255 + 1 for i in range(PAGE))
        noise[ENLIGHTEN_VMENTRY] = page[ENLIGHTEN_VMENTRY]
        noise[CURRENT_NESTED_VMCS] = page[CURRENT_NESTED_VMCS]
        # the nested-control words and what lies behind the structure: L0 reads none of it here
        machine.memory.write(machine.assist_page_gpa(n), bytes(noise))


@pytest.mark.needs("hyperv")
@pytest.mark.case("PRT-32")
@pytest.mark.case("P09")
def test_both_fields_are_zero_and_no_other_byte_has_changed(kernel, each_machine):
    kvm = each_machine.insmod(enlightened_vmcs=True)
    gpas = run_everywhere(each_machine, kvm)
    for page, gpa in zip(pages(each_machine), gpas):
        assert page[ENLIGHTEN_VMENTRY] == bytes([1, 0, 0, 0])
        assert int.from_bytes(page[CURRENT_NESTED_VMCS], "little") == gpa
    scribble(each_machine)
    before = pages(each_machine)
    kvm.rmmod()
    after = pages(each_machine)
    for old, new in zip(before, after):
        assert new[ENLIGHTEN_VMENTRY] == bytes(4) and new[CURRENT_NESTED_VMCS] == bytes(8)
        new[ENLIGHTEN_VMENTRY] = old[ENLIGHTEN_VMENTRY]
        new[CURRENT_NESTED_VMCS] = old[CURRENT_NESTED_VMCS]
        if kernel.version >= (6,):
            # they ask for the direct flush there
            new[NESTED_CONTROL] = old[NESTED_CONTROL]
        assert new == old


def test_a_load_changes_the_two_fields_and_no_other_byte(kernel, each_machine):
    scribble(each_machine)
    before = pages(each_machine)
    kvm = each_machine.insmod(enlightened_vmcs=True)
    run_everywhere(each_machine, kvm, exits=100)
    for old, new in zip(before, pages(each_machine)):
        new[ENLIGHTEN_VMENTRY] = old[ENLIGHTEN_VMENTRY]
        new[CURRENT_NESTED_VMCS] = old[CURRENT_NESTED_VMCS]
        if kernel.version >= (6,):
            new[NESTED_CONTROL] = old[NESTED_CONTROL]
        assert new == old


@pytest.mark.case("PRT-18")
def test_without_enlightened_vmcs_no_byte_of_a_page_changes(each_machine):
    scribble(each_machine)
    before = pages(each_machine)
    kvm = each_machine.insmod(enlightened_vmcs=False)
    # what an earlier kernel left in the page would make L0 take an eVMCS: not this test's matter
    for n, page in enumerate(pages(each_machine)):
        page[ENLIGHTEN_VMENTRY] = bytes(4)
        before[n][ENLIGHTEN_VMENTRY] = bytes(4)
        each_machine.memory.write(each_machine.assist_page_gpa(n), bytes(page))
    run_everywhere(each_machine, kvm)
    kvm.rmmod()
    assert pages(each_machine) == before


@pytest.mark.needs("hyperv")
@pytest.mark.case("P09")
def test_a_cpu_that_is_offline_keeps_what_it_has(kernel):
    """for_each_online_cpu() in v4.19 (erratum: stale_assist)."""
    with kernel(cpus=2) as machine:
        kvm = machine.insmod(enlightened_vmcs=True)
        gpas = run_everywhere(machine, kvm)
        gpa = machine.assist_page_gpa(1)
        machine.offline(1)
        kvm.rmmod()
        stale = machine.memory.read(gpa, PAGE)
        if kernel.version < (6,):
            assert stale[ENLIGHTEN_VMENTRY] == bytes([1, 0, 0, 0])
            assert int.from_bytes(stale[CURRENT_NESTED_VMCS], "little") == gpas[1]
        else:
            assert stale[ENLIGHTEN_VMENTRY] == bytes(4) and stale[CURRENT_NESTED_VMCS] == bytes(8)
        assert pages(machine)[0][CURRENT_NESTED_VMCS] == bytes(8)


@pytest.mark.parametrize("enlightened", [True, False])
def test_everything_is_given_back(each_machine, enlightened):
    before = each_machine.allocations
    kvm = each_machine.insmod(enlightened_vmcs=enlightened)
    loaded = each_machine.allocations
    assert loaded["pages"] > before["pages"] and loaded["objects"] > before["objects"]
    run_everywhere(each_machine, kvm)
    assert each_machine.allocations["pages"] > loaded["pages"]
    kvm.rmmod()
    assert each_machine.allocations == before


@pytest.mark.needs("hyperv", "jump-label")
@pytest.mark.case("PRT-32", "KEY-09")
def test_the_key_is_off_after_it(machine):
    kvm = machine.insmod(enlightened_vmcs=True)
    sites = [site for site in machine.keys() if site["key"] == "enable_evmcs"]
    assert {text.state(site) for site in sites} == {"jmp"}
    kvm.rmmod()
    assert {text.state(site) for site in sites} == {"nop"}


@pytest.mark.needs("hyperv")
@pytest.mark.case("PRT-35")
@pytest.mark.sweep(6)
@pytest.mark.parametrize("order", list(itertools.product([False, True], repeat=3)), ids=str)
def test_each_reload_is_what_its_parameter_says(each_machine, order):
    for enlightened in order:
        kvm = each_machine.insmod(enlightened_vmcs=enlightened)
        before = dict(each_machine.counters)
        run_everywhere(each_machine, kvm, exits=100)
        moved = {name: each_machine.counters[name] - before[name] for name in ("vmread", "vmwrite")}
        assert kvm.enable_evmcs == enlightened
        if enlightened:
            assert moved == {"vmread": 0, "vmwrite": 0}
            assert all(each_machine.cpu(n).active_evmcs for n in range(each_machine.cpus))
        else:
            assert moved["vmread"] >= 600 * each_machine.cpus and moved["vmwrite"] > 0
            assert [each_machine.cpu(n).active_evmcs for n in range(each_machine.cpus)] \
                == [None] * each_machine.cpus
        kvm.rmmod()


def resident():
    """Bytes of memory that this process holds."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * PAGE


def test_a_thousand_rounds_leak_nothing(kernel):
    """Pages, objects, and the process's own memory: a leaked page a round would be 4 MB. Sixty of
    a tree's, whose memory is L1's: the process has it as it is touched."""
    warm, many = (200, 1000) if kernel.is_port else (20, 60)
    with kernel(cpus=2) as machine:
        if not kernel.is_port:
            run_everywhere(machine, machine.insmod(), exits=1)
            machine.module.rmmod()

        def rounds(count):
            for n in range(count):
                kvm = machine.insmod(enlightened_vmcs=n % 2 == 0)
                vm = kvm.create_vm(code=CPUID_LOOP, memory=64 << 10)
                vm.create_vcpu(cpu=n % 2).run(exits=3)
                kvm.rmmod()
                assert machine.allocations == before

        before = machine.allocations
        rounds(warm)
        gc.collect()
        start = resident()
        rounds(many)
        gc.collect()
        if kernel.is_port:
            assert resident() - start < 512 << 10


@pytest.mark.soak
def test_machines_leak_nothing_either(kernel, soak):
    if not (soak or kernel.is_port or kernel.name in compiled()[-1:]):
        pytest.skip("a soak of this tree's: what loads one loads each")

    def rounds(count):
        for n in range(count):
            with kernel(cpus=3) as machine:
                kvm = machine.insmod(enlightened_vmcs=n % 2 == 0)
                kvm.create_vm(code=CPUID_LOOP, memory=64 << 10).create_vcpu(cpu=2).run(exits=3)

    # what malloc() and a kernel take once is no leak, which comes in each of the spans
    warm, many = ((100, 300) if soak else (40, 160)) if kernel.is_port else (40, 40)
    # a page a machine is 640 KiB of the port's; the smallest table of a tree, 64 KiB, 2.5 MiB
    grown, limit = [], 512 << 10 if kernel.is_port else 2 << 20
    rounds(warm)
    while not grown or grown[-1] >= limit and len(grown) < 6:
        gc.collect()
        start = resident()
        rounds(many)
        gc.collect()
        grown.append(resident() - start)
    assert min(grown) < limit


def test_a_vm_destroyed_early_gives_back_what_it_took(each_machine):
    kvm = each_machine.insmod(enlightened_vmcs=True)
    before = each_machine.allocations
    for memory in (64 << 10, 2 << 20, 16 << 20):
        vm = kvm.create_vm(code=CPUID_LOOP, memory=memory)
        for n in range(each_machine.cpus):
            vm.create_vcpu(cpu=n).run(exits=3)
        vm.destroy()
        assert each_machine.allocations == before


BITMAPS = 2     # VMX_BITMAP_NR: the VMREAD and the VMWRITE bitmap, a page each


@pytest.mark.parametrize("enlightened", [True, False])
@pytest.mark.parametrize("point", ["page", "kmalloc"])
def test_a_load_that_runs_out_of_memory_leaves_no_more_than_v4_19(machine, point, enlightened):
    """hardware_setup() ends in `return alloc_kvm_area()`: where that fails, the bitmaps stay."""
    for nth in itertools.count(1):
        before = machine.allocations
        machine.fail(point, nth)
        try:
            kvm = machine.insmod(enlightened_vmcs=enlightened)
        except OSError as error:
            assert error.errno == 12
            lost = machine.allocations["pages"] - before["pages"]
            assert lost == (BITMAPS if point == "page" and nth > BITMAPS else 0)
            assert machine.allocations["objects"] == before["objects"]
            assert machine.keys() == []
            continue
        machine.fail(point, 0)
        assert kvm.enable_evmcs == enlightened
        kvm.rmmod()
        assert machine.allocations == before
        break
    # every allocation of a load has failed once: two bitmaps, a VMXON region for each CPU
    assert nth == (BITMAPS + machine.cpus if point == "page" else 2) + 1


@pytest.mark.parametrize("enlightened", [True, False])
@pytest.mark.parametrize("point", ["page", "kmalloc"])
def test_a_vm_that_runs_out_of_memory_leaves_nothing(machine, point, enlightened):
    kvm = machine.insmod(enlightened_vmcs=enlightened)
    before = machine.allocations
    failures = 0
    for nth in itertools.count(1):
        machine.fail(point, nth)
        try:
            vm = kvm.create_vm(code=CPUID_LOOP, memory=64 << 10)
        except OSError as error:
            assert error.errno == 12
            assert machine.allocations == before
            failures += 1
            continue
        try:
            vcpu = vm.create_vcpu()
        except OSError as error:
            assert error.errno == 12
            machine.fail(point, 0)
            assert vm.create_vcpu().run(exits=3).exits == 3
            vm.destroy()
            assert machine.allocations == before
            failures += 1
            continue
        machine.fail(point, 0)
        assert vcpu.run(exits=3).exits == 3
        vm.destroy()
        break
    assert failures > 1 and machine.allocations == before
