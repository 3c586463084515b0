# SPDX-License-Identifier: GPL-2.0-only
"""CPUs that come and go, vCPUs that move between them, and calls from one CPU to another."""

import itertools
import os
import threading
import time

import pytest

from kvm_vmx import KernelBug, Machine
from kvm_vmx.machine.guests import CPUID_LOOP

# inc r8; mov $0, %eax; cpuid; jmp back to the start: R8 counts the exits
COUNTING_LOOP = bytes.fromhex("49ffc0" "b800000000" "0fa2" "ebf4")
VP_ASSIST_PAGE, CR4_VMXE = 0x40000073, 1 << 13
PAGE = 4096
ENLIGHTENED = pytest.mark.parametrize("enlightened", [False, True], ids=["vmcs", "evmcs"])


@pytest.fixture
def each_machine(kernel):
    """A machine of each kind of L1."""
    with kernel(cpus=3) as machine:
        yield machine


def load(machine, enlightened):
    """insmod, with VMX operation on while there is a VM: 6.12 has it on from the load, unless it is
    told."""
    try:
        return machine.insmod(enlightened_vmcs=enlightened, enable_virt_at_load=False)
    except ValueError:
        return machine.insmod(enlightened_vmcs=enlightened)


def assist_msr(machine, cpu):
    outcome = machine.cpu(cpu).rdmsr(VP_ASSIST_PAGE)
    assert outcome.ok
    return outcome.value


def vmx_is_on(machine, cpu):
    return bool(machine.cpu(cpu).cr4 & CR4_VMXE)


# What the callbacks of hv_init.c and kvm_main.c do.

@pytest.mark.case("PRT-39")
def test_a_cpu_that_dies_disables_its_assist_page_and_keeps_it(kernel, each_machine):
    """hv_cpu_die(): the hypercall page is freed, the assist page kept for the next time. Of a
    kernel's own that is vmlinux's, whose stand-in has no hypercall page."""
    machine = each_machine
    gpa, before = machine.assist_page_gpa(1), machine.allocations
    assert assist_msr(machine, 1) == gpa | 1
    machine.offline(1)
    assert machine.cpus == 2 and assist_msr(machine, 1) == 0
    assert machine.assist_page_gpa(1) == gpa
    assert machine.allocations == {**before, "pages": before["pages"] - kernel.is_port}
    machine.online(1)
    assert machine.cpus == 3 and assist_msr(machine, 1) == gpa | 1
    assert machine.assist_page_gpa(1) == gpa and machine.allocations == before


def test_a_cpu_that_is_new_gets_its_pages(kernel):
    with kernel(cpus=1, possible_cpus=3) as machine:
        before = machine.allocations
        assert [machine.assist_page_gpa(n) for n in (1, 2)] == [None, None]
        machine.online(2)
        gpa = machine.assist_page_gpa(2)
        assert assist_msr(machine, 2) == gpa | 1 and gpa % PAGE == 0
        assert gpa != machine.assist_page_gpa(0) and machine.assist_page_gpa(1) is None
        pages = 2 if kernel.is_port else 1
        assert machine.allocations == {**before, "pages": before["pages"] + pages}


def test_rounds_of_hotplug_leak_nothing(each_machine):
    before = each_machine.allocations
    for cpu in (1, 2, 0, 1) * 20:
        each_machine.offline(cpu)
        each_machine.online(cpu)
    assert each_machine.allocations == before


@ENLIGHTENED
def test_vmx_is_on_while_there_is_a_vm(each_machine, enlightened):
    """hardware_enable_all() with the first VM, hardware_disable_all() with the last."""
    kvm = load(each_machine, enlightened)
    assert [vmx_is_on(each_machine, n) for n in range(3)] == [False] * 3
    first, second = kvm.create_vm(), kvm.create_vm()
    assert [vmx_is_on(each_machine, n) for n in range(3)] == [True] * 3
    first.destroy()
    assert [vmx_is_on(each_machine, n) for n in range(3)] == [True] * 3
    second.destroy()
    assert [vmx_is_on(each_machine, n) for n in range(3)] == [False] * 3


@ENLIGHTENED
def test_a_cpu_that_dies_leaves_vmx_operation_and_returns_to_it(each_machine, enlightened):
    kvm = load(each_machine, enlightened)
    vm = kvm.create_vm(code=CPUID_LOOP)
    vcpu = vm.create_vcpu(cpu=1)
    vcpu.run(exits=10)
    before = each_machine.counters
    each_machine.offline(1)
    assert not vmx_is_on(each_machine, 1)
    moved = {name: each_machine.counters[name] - before[name] for name in ("vmclear", "vmxoff")}
    # kvm_dying_cpu(): the VMCSs that are loaded there, then VMXOFF
    assert moved == {"vmclear": 1, "vmxoff": 1}
    each_machine.online(1)
    assert vmx_is_on(each_machine, 1)
    assert vcpu.run(exits=10).exits == 10
    vm.destroy()
    assert not vmx_is_on(each_machine, 1)


@ENLIGHTENED
def test_hotplug_without_a_vm_leaves_vmx_off(each_machine, enlightened):
    load(each_machine, enlightened)
    before = each_machine.counters["vmxon"]
    each_machine.offline(2)
    each_machine.online(2)
    assert each_machine.counters["vmxon"] == before and not vmx_is_on(each_machine, 2)


@pytest.mark.needs("hyperv")
def test_a_new_cpu_has_no_page_yet_when_kvm_starts_on_it(kernel):
    """CPUHP_AP_KVM_STARTING comes before CPUHP_AP_ONLINE_DYN: hardware_enable() says -EFAULT and
    only the log tells. After the page is there, the next time goes well. CPUHP_AP_KVM_ONLINE of
    later ones comes behind Hyper-V's."""
    fails = kernel.version < (6, 3)
    failed = "kvm: enabling virtualization on CPU1 failed"
    with kernel(cpus=1, possible_cpus=2) as machine:
        kvm = machine.insmod(enlightened_vmcs=True)
        vm = kvm.create_vm(code=CPUID_LOOP)
        vcpu = vm.create_vcpu(cpu=0)
        machine.online(1)
        assert machine.dmesg.count(failed) == fails
        assert vmx_is_on(machine, 1) != fails and machine.assist_page(1) is not None
        machine.offline(1)
        machine.online(1)
        assert machine.dmesg.count(failed) == fails and vmx_is_on(machine, 1)
        vcpu.cpu = 1
        assert vcpu.run(exits=10).exits == 10


def test_the_same_under_the_plain_vmcs_needs_no_page(kernel):
    with kernel(cpus=1, possible_cpus=2) as machine:
        kvm = machine.insmod(enlightened_vmcs=False)
        vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
        machine.online(1)
        assert vmx_is_on(machine, 1)
        vcpu.cpu = 1
        assert vcpu.run(exits=10).exits == 10


# Where each ends: the port says BUG for the null pointer.
NO_LIST = {"port": "kernel BUG", "v4.19": r"a page fault in vmx_vcpu_load\+",
           "6.1": r"an invalid opcode in kvm_spurious_fault\+"}


@pytest.mark.needs("hyperv")
def test_a_vcpu_on_a_cpu_where_kvm_did_not_start_ends_the_kernel_and_not_the_process(kernel):
    """hardware_enable() failed before INIT_LIST_HEAD(): vmx_vcpu_load() meets a null pointer. The
    list is there in 6.1, and VMX is off; 6.12 has KVM on by then."""
    with kernel(cpus=1, possible_cpus=2) as machine:
        vcpu = machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
        machine.online(1)
        vcpu.cpu = 1
        if repr(kernel) in NO_LIST:
            with pytest.raises(KernelBug, match=NO_LIST[repr(kernel)]):
                vcpu.run(exits=1)
        else:
            assert vcpu.run(exits=1).exits == 1
    with kernel() as machine:
        assert machine.insmod().create_vm(code=b"\xf4").create_vcpu().run().reason == "HLT"


@pytest.mark.parametrize("change, cpu, number", [
    ("offline", 0, 16),     # the last one: EBUSY
    ("offline", 1, 22),     # not online: EINVAL
    ("online", 0, 22),      # online already
])
def test_hotplug_that_cannot_be(kernel, change, cpu, number):
    with kernel(cpus=1, possible_cpus=2) as machine:
        with pytest.raises(OSError) as caught:
            getattr(machine, change)(cpu)
        assert caught.value.errno == number and "\n" not in str(caught.value)
        machine.online(1)
        machine.offline(0)
        assert machine.cpus == 1
        assert machine.insmod().create_vm(code=b"\xf4").create_vcpu(cpu=1).run().reason == "HLT"


# A vCPU on another CPU.

@ENLIGHTENED
def test_a_migration_is_one_vmclear_where_it_was_and_one_load_where_it_is(each_machine,
                                                                          enlightened):
    kvm = each_machine.insmod(enlightened_vmcs=enlightened)
    vm = kvm.create_vm(code=CPUID_LOOP)
    vcpu, stays = vm.create_vcpu(cpu=0), vm.create_vcpu(cpu=1)
    for each in (vcpu, stays):
        each.run(exits=10)
    for to in (1, 2, 0, 1):
        before = [each_machine.cpu(n).counters() for n in range(3)]
        was, vcpu.cpu = vcpu.cpu, to
        assert vcpu.run(exits=10).exits == 10
        after = [each_machine.cpu(n).counters() for n in range(3)]
        moved = [{name: new[name] - old[name] for name in new} for old, new in zip(before, after)]
        assert moved[was]["vmclear"] == 1 and moved[was]["exits"] == 0
        assert moved[to]["vmclear"] == 0 and moved[to]["exits"] == 10
        assert moved[to]["vmptrld"] == (0 if enlightened else 1)
        assert moved[to]["vmlaunch"] == 1 and moved[to]["vmresume"] == 9
        other, = {0, 1, 2} - {was, to}
        assert not any(moved[other].values())


@pytest.mark.needs("hyperv")
def test_an_evmcs_is_current_on_one_cpu_alone(each_machine):
    """After a migration the old CPU's L0 has dropped its copy, and the new one has it."""
    kvm = each_machine.insmod(enlightened_vmcs=True)
    vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
    for cpu in (0, 1, 2, 1, 0):
        vcpu.cpu = cpu
        vcpu.run(exits=3)
        active = [each_machine.cpu(n).active_evmcs for n in range(3)]
        assert active[cpu] == vcpu.vmcs_gpa and active.count(vcpu.vmcs_gpa) == 1
        assert int.from_bytes(each_machine.assist_page(cpu)[48:56], "little") == vcpu.vmcs_gpa
        assert each_machine.lints == []


@ENLIGHTENED
@pytest.mark.parametrize("policy", ["never", "random(5)", "commit_on_success"])
def test_a_guest_does_not_notice_under_other_policies(kernel, policy, enlightened):
    test_a_guest_does_not_notice_that_it_moves(kernel, enlightened, policy)


@ENLIGHTENED
def test_a_guest_does_not_notice_that_it_moves(kernel, enlightened, policy="always"):
    with kernel(cpus=3, cache_policy=policy) as machine:
        kvm = machine.insmod(enlightened_vmcs=enlightened)
        vcpu = kvm.create_vm(code=COUNTING_LOOP).create_vcpu(cpu=0)
        exits = 0
        for cpu, count in zip((0, 1, 2, 0, 0, 2, 1) * 5, itertools.cycle((1, 2, 3, 10))):
            vcpu.cpu = cpu
            exits += vcpu.run(exits=count).exits
            assert vcpu.regs["r8"] == exits
            # at the exit RIP stands on CPUID or, with the exit handled, right behind it
            assert vcpu.regs["rip"] == 0x1000 + 3 + 5 + 2


@ENLIGHTENED
@pytest.mark.parametrize("policy", ["never", "commit_on_success"])
def test_two_vcpus_share_a_cpu_under_other_policies(kernel, policy, enlightened):
    test_two_vcpus_share_a_cpu_without_cross_talk(kernel, enlightened, policy)


@pytest.mark.case("PRT-28")
@ENLIGHTENED
def test_two_vcpus_share_a_cpu_without_cross_talk(kernel, enlightened, policy="always"):
    with kernel(cpus=1, cache_policy=policy) as machine:
        kvm = machine.insmod(enlightened_vmcs=enlightened)
        vcpus = [kvm.create_vm(code=COUNTING_LOOP).create_vcpu(cpu=0) for _ in range(2)]
        vcpus += [vcpus[0].vm.create_vcpu(cpu=0)]
        marks = {n: 0x1111111111111111 * (n + 1) for n in range(len(vcpus))}
        for n, vcpu in enumerate(vcpus):
            vcpu.regs.update(r15=marks[n], rsp=0x8000 + n)
        exits = [0] * len(vcpus)
        for turn in range(60):
            n = turn * 7 % len(vcpus)
            exits[n] += vcpus[n].run(exits=turn % 4 + 1).exits
            for k, vcpu in enumerate(vcpus):
                seen = vcpu.regs
                assert (seen["r8"], seen["r15"], seen["rsp"]) == (exits[k], marks[k], 0x8000 + k)
        assert len({vcpu.vmcs_gpa for vcpu in vcpus}) == len(vcpus)


@pytest.mark.case("PRT-28")
@ENLIGHTENED
def test_a_switch_between_vcpus_of_one_cpu_needs_no_vmclear(each_machine, enlightened):
    kvm = each_machine.insmod(enlightened_vmcs=enlightened)
    vm = kvm.create_vm(code=CPUID_LOOP)
    vcpus = [vm.create_vcpu(cpu=0) for _ in range(2)]
    for vcpu in vcpus * 2:
        vcpu.run(exits=10)
    before = each_machine.counters
    for vcpu in vcpus * 5:
        vcpu.run(exits=10)
    moved = {name: each_machine.counters[name] - before[name] for name in before}
    assert moved["vmclear"] == 0 and moved["vmlaunch"] == 0
    assert moved["vmptrld"] == (0 if enlightened else 10)


def long_of(machine):
    """Exits that take long enough for another thread to come: by trap one is some hundred times as
    slow, and under a kernel's own KVM each takes turns with other threads besides."""
    if not isinstance(machine, Machine):
        return 2_000
    return 20_000 if os.environ.get("KVM_VMX_INSN") == "trap" else 600_000


def counted(summary):
    """The exits by reason, but for pages that KVM has yet to map."""
    return {reason: times for reason, times in summary.reasons.items() if reason != 48}


# IPIs: the target is taken where it is idle, and interrupted where it runs.

def running(each_machine, vcpu, exits):
    """A thread that runs the vCPU, once it is on its way, and the list of its result."""
    result = []
    before = each_machine.cpu(vcpu.cpu).counters()["exits"]
    thread = threading.Thread(target=lambda: result.append(vcpu.run(exits=exits)))
    thread.start()
    while each_machine.cpu(vcpu.cpu).counters()["exits"] < before + 100:
        time.sleep(0.0005)
    return thread, result


@pytest.mark.sweep(2)
@ENLIGHTENED
def test_a_vcpu_leaves_a_cpu_where_another_one_runs(each_machine, enlightened):
    """VMCLEAR by IPI: the guest that runs there exits for the interrupt and goes on."""
    kvm = each_machine.insmod(enlightened_vmcs=enlightened)
    vm = kvm.create_vm(code=COUNTING_LOOP)
    stays, leaves = vm.create_vcpu(cpu=1), vm.create_vcpu(cpu=1)
    leaves.run(exits=10)
    thread, result = running(each_machine, stays, long_of(each_machine))
    leaves.cpu = 2
    before = each_machine.cpu(1).counters()["vmclear"]
    assert leaves.run(exits=10).exits == 10
    assert each_machine.cpu(1).counters()["vmclear"] == before + 1
    thread.join()
    assert result[0].exits == long_of(each_machine)
    # R8 counts CPUID exits; what is missing went to external interrupts
    assert stays.regs["r8"] == result[0].reasons[10]
    assert sum(counted(result[0]).values()) == long_of(each_machine)
    assert counted(result[0]).keys() <= {1, 10}
    assert leaves.regs["r8"] == 20


@ENLIGHTENED
def test_a_guest_without_exits_is_interrupted(each_machine, enlightened):
    """jmp to itself: only the IPI, or the timer of L1, brings it out."""
    kvm = each_machine.insmod(enlightened_vmcs=enlightened)
    spins = kvm.create_vm(code=b"\xeb\xfe").create_vcpu(cpu=1)
    leaves = kvm.create_vm(code=CPUID_LOOP).create_vcpu(cpu=1)
    leaves.run(exits=1)
    result = []
    thread = threading.Thread(target=lambda: result.append(spins.run(exits=1)))
    thread.start()
    leaves.cpu = 0
    assert leaves.run(exits=10).exits == 10
    thread.join()
    assert counted(result[0]) == {1: 1}


@pytest.mark.sweep(2)
@ENLIGHTENED
def test_every_cpu_runs_at_once(each_machine, enlightened):
    kvm = each_machine.insmod(enlightened_vmcs=enlightened)
    vm = kvm.create_vm(code=COUNTING_LOOP)
    vcpus = [vm.create_vcpu(cpu=n) for n in range(3)]
    results = {}
    exits = long_of(each_machine) // 10
    threads = [threading.Thread(target=lambda n=n: results.update({n: vcpus[n].run(exits=exits)}))
               for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n, vcpu in enumerate(vcpus):
        assert results[n].exits == exits
        assert vcpu.regs["r8"] == results[n].reasons[10]
    assert each_machine.lints == [] and each_machine.warnings == 0


@pytest.mark.sweep(2)
@ENLIGHTENED
def test_two_threads_swap_their_cpus(each_machine, enlightened):
    """Each VMCLEARs its VMCS on the CPU where the other one runs; none may wait for ever."""
    kvm = each_machine.insmod(enlightened_vmcs=enlightened)
    vm = kvm.create_vm(code=COUNTING_LOOP)
    vcpus = [vm.create_vcpu(cpu=n) for n in range(2)]
    counts, errors = [0, 0], []
    exits = 200 if isinstance(each_machine, Machine) else 50
    barrier = threading.Barrier(2)

    def work(n):
        try:
            for turn in range(100 if isinstance(each_machine, Machine) else 20):
                barrier.wait(timeout=30)
                vcpus[n].cpu = (n + turn) % 2
                barrier.wait(timeout=30)
                summary = vcpus[n].run(exits=exits)
                counts[n] += summary.reasons.get(10, 0)
        except Exception as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert errors == [] and not any(thread.is_alive() for thread in threads)
    assert [vcpu.regs["r8"] for vcpu in vcpus] == counts
