# SPDX-License-Identifier: GPL-2.0-only
"""When each L1 turns enable_evmcs on: each combination, against a model of v4.19's own words."""

import itertools

import pytest

from kvm_vmx import Machine

USING = "using hyper-v enlightened vmcs"
HYPERVISOR_BIT, HINT_EVMCS = 1 << 31, 1 << 14
HYPERCALL_AND_VP_INDEX = 0x60
MICROSOFT = tuple(int.from_bytes(word, "little") for word in (b"Micr", b"osof", b"t Hv"))
OTHERS = [
    tuple(int.from_bytes(word, "little") for word in (b"KVMK", b"VMKV", b"M\0\0\0")),
    (MICROSOFT[0], MICROSOFT[1], MICROSOFT[2] ^ 1),
    (MICROSOFT[2], MICROSOFT[1], MICROSOFT[0]),
]


@pytest.fixture(scope="module")
def leaves():
    """The CPUID leaves that a case changes, as the profile has them."""
    with Machine(cpus=1) as machine:
        return {leaf: machine.cpu(0).cpuid(leaf)
                for leaf in (1, 0x40000000, 0x40000003, 0x40000004, 0x4000000A)}


def cpuid(leaves, *, present=True, signature=MICROSOFT, top=0x4000000A,
          features=0x873, hint=True, nested=0x000A0101):
    """{leaf: registers} of one case."""
    _, ebx, ecx, edx = leaves[1]
    return {
        1: (leaves[1][0], ebx, ecx | HYPERVISOR_BIT if present else ecx & ~HYPERVISOR_BIT, edx),
        0x40000000: (top, *signature),
        0x40000003: (features, *leaves[0x40000003][1:]),
        0x40000004: (leaves[0x40000004][0] & ~HINT_EVMCS | HINT_EVMCS * hint,
                     *leaves[0x40000004][1:]),
        0x4000000A: (nested, *leaves[0x4000000A][1:]),
    }


class Platform:
    """ms_hyperv_platform(), ms_hyperv_init_platform() and hyperv_init() of v4.19."""

    def __init__(self, table, online, no_page=()):
        self.hints = self.nested_features = 0
        self.pages = set()
        top, *signature = table[0x40000000]
        if not table[1][2] & HYPERVISOR_BIT:
            return
        if not 0x40000005 <= top <= 0x4000FFFF or tuple(signature) != MICROSOFT:
            return
        self.hints = table[0x40000004][0]
        # the leaf is read unasked whether it lies below the highest one
        if self.hints & HINT_EVMCS:
            self.nested_features = table[0x4000000A][0]
        if table[0x40000003][0] & HYPERCALL_AND_VP_INDEX == HYPERCALL_AND_VP_INDEX:
            self.pages = set(online) - set(no_page)

    def vmx_init(self, parameter, online):
        """(the key, the parameter as it is left)."""
        on = bool(parameter and self.hints & HINT_EVMCS and self.nested_features & 0xFF >= 1
                  and self.pages >= set(online))
        return on, on


def told(machine):
    """How often the kernel has said that it uses them."""
    return sum(USING in line.lower() for line in machine.dmesg)


def jumps(machine):
    """(sites of the key that jump, all of them); which do depends on what each expects."""
    sites = [site for site in machine.keys()
             if site["key"] in ("enable_evmcs", "__kvm_is_using_evmcs")]
    return sum((site["state"] == "jmp") != site["likely"] for site in sites), len(sites)


def check(machine, platform, online, what):
    """Load with the parameter off and on; the key, the parameter and the log line of each."""
    for parameter in (False, True):
        before = told(machine)
        kvm = machine.insmod(enlightened_vmcs=parameter)
        seen = kvm.enable_evmcs, kvm.parameters["enlightened_vmcs"]
        assert seen == platform.vmx_init(parameter, online), (what, parameter)
        assert told(machine) - before == seen[0]
        on, sites = jumps(machine)
        assert sites > 50 and on == (sites if seen[0] else 0)
        kvm.rmmod()


# Each bit of the version byte by itself and all but it, and the least and the most.
BITS = [1 << bit for bit in range(8)]
EDGES = sorted({0, 3, 255, *BITS, *(255 ^ bit for bit in BITS)})


@pytest.mark.soak
@pytest.mark.case("PRT-11")
@pytest.mark.sweep(3)
@pytest.mark.parametrize("no_page", [(), (0,), (1,), (0, 1)], ids=str)
@pytest.mark.parametrize("signature", ["right", "wrong", "no hypervisor bit"])
def test_every_combination(kernel, leaves, signature, no_page, soak):
    """Parameter, hint, version byte, signature, missing pages: 12,288 loads in all, in a soak;
    else the edges of the version byte where it decides, and few where it does not."""
    online = (0, 1)
    on = 0
    decides = signature == "right" and not no_page
    versions = range(256) if soak else EDGES if decides and kernel.is_port else (0, 1, 2, 255)
    for hint, version in itertools.product((False, True), versions):
        if not (hint or soak or version in (0, 255)):
            continue
        table = cpuid(
            leaves, hint=hint, present=signature != "no hypervisor bit",
            signature=OTHERS[version % len(OTHERS)] if signature == "wrong" else MICROSOFT,
            # what stands beside the version must not matter: the highest version, the features
            nested=version | (0xA0000 | version << 8) & 0xFFFFFF00)
        platform = Platform(table, online, no_page)
        with kernel(cpus=2, cpuid=table, no_assist_page=no_page) as machine:
            pages = {n for n in online if machine.assist_page(n) is not None}
            assert pages == platform.pages
            check(machine, platform, online, (hint, version))
        on += platform.vmx_init(True, online)[0]
    assert on == (len(versions) - 1 if decides else 0)


@pytest.mark.sweep(3)
@pytest.mark.case("PRT-14")
@pytest.mark.parametrize("top, found", [
    (0, False), (0x40000004, False), (0x40000005, True), (0x40000009, True), (0x4000FFFF, True),
    (0x40010000, False), (0xFFFFFFFF, False),
])
def test_the_highest_leaf_must_lie_in_the_range_of_hypervisors(kernel, leaves, top, found):
    """Below 0x4000000A the version is read all the same (erratum: leaf_a_unchecked)."""
    table = cpuid(leaves, top=top)
    with kernel(cpus=2, cpuid=table) as machine:
        check(machine, Platform(table, (0, 1)), (0, 1), top)
        assert machine.insmod().enable_evmcs == found
        assert ("Hypervisor detected: Microsoft Hyper-V" in machine.dmesg) == found


@pytest.mark.sweep(3)
@pytest.mark.parametrize("features", [0, 0x20, 0x40, 0x60, 0x813, 0x873, 0xFFFFEEFF])
def test_without_hypercalls_and_vp_indices_no_cpu_has_a_page(kernel, leaves, features):
    table = cpuid(leaves, features=features)
    with kernel(cpus=2, cpuid=table) as machine:
        check(machine, Platform(table, (0, 1)), (0, 1), features)
        assert (machine.assist_page(0) is not None) == (features & 0x60 == 0x60)


@pytest.mark.parametrize("hints", [0x4000, 0xFFFFFE3E, 0xFFFFBE3E, 0])
def test_only_bit_14_of_the_hints_counts(kernel, leaves, hints):
    table = cpuid(leaves) | {0x40000004: (hints, 0, 0, 0)}
    with kernel(cpus=2, cpuid=table) as machine:
        check(machine, Platform(table, (0, 1)), (0, 1), hints)


@pytest.mark.sweep(3)
@pytest.mark.parametrize("online, without", [
    *((n, missing) for n in (1, 3) for missing in range(n)), (2, 2), (2, 3), (5, 4),
])
def test_a_page_on_every_online_cpu_and_no_other(kernel, leaves, online, without):
    table = cpuid(leaves)
    cpus = range(online)
    with kernel(cpus=online, possible_cpus=6, no_assist_page=(without,)) as machine:
        check(machine, Platform(table, cpus, (without,)), cpus, without)


@pytest.mark.parametrize("point, nth, recommended", [
    ("kmalloc", 1, True),       # the VP indices
    ("kmalloc", 2, False),      # the array of pages: v4.19 takes the hint back
    ("vmalloc", 3, True),       # the hypercall page, after one page for each CPU
])
def test_a_boot_that_runs_out_of_memory_has_no_pages(leaves, point, nth, recommended):
    # loading kvm is an oops then, where Hyper-V tells of migrations (erratum: no_vp_index)
    eax, *others = leaves[0x40000003]
    silent = {0x40000003: (eax & ~(1 << 13), *others)}
    with Machine(cpus=2, fail={point: nth}, cpuid=silent) as machine:
        assert machine.assist_page(0) is machine.assist_page(1) is None
        kvm = machine.insmod(enlightened_vmcs=True)
        assert (kvm.enable_evmcs, kvm.parameters["enlightened_vmcs"]) == (False, False)
        vcpu = kvm.create_vm(code=b"\xf4").create_vcpu()
        assert vcpu.run().reason == "HLT"
    with Machine(cpus=2) as machine:
        assert machine.insmod().enable_evmcs


def test_a_cpu_that_comes_online_later_gets_a_page_for_the_next_load(kernel):
    with kernel(cpus=1, possible_cpus=2) as machine:
        kvm = machine.insmod()
        assert kvm.enable_evmcs
        kvm.rmmod()
        assert machine.assist_page(1) is None
        machine.online(1)
        assert machine.assist_page(1) is not None
        assert machine.insmod().enable_evmcs


def test_a_cpu_online_without_a_page_turns_it_off_and_offline_on_again(kernel):
    with kernel(cpus=2, no_assist_page=(1,)) as machine:
        for online, on in ((True, False), (False, True)):
            if not online:
                machine.offline(1)
            kvm = machine.insmod()
            assert kvm.enable_evmcs == on
            kvm.rmmod()


def test_the_parameter_is_what_was_given_until_vmx_init_changes_it(kernel):
    """The other parameters are not touched by detection."""
    with kernel(cpus=1, cpuid={0x40000004: (0, 0, 0, 0)}) as machine:
        off = machine.insmod(enlightened_vmcs=True).parameters
        machine.module.rmmod()
        plain = machine.insmod(enlightened_vmcs=False).parameters
        assert off == plain and not off["enlightened_vmcs"]
