# SPDX-License-Identifier: GPL-2.0-only
"""hardware_setup() and a new vCPU: configuration, revisions, MSR bitmap, clean fields."""

import ctypes
import itertools

import pytest
from each import load

from kvm_vmx.machine.fields import CLEAN_FIELDS
from kvm_vmx.machine.guests import CPUID_LOOP

EIO = 5

# struct vmcs_config, word by word
SIZE, ORDER, BASIC_CAP, REVISION, PIN, CPU, SECONDARY, EXIT, ENTRY = range(9)
BASIC, PIN_MSR, CPU_MSR = 0x480, 0x481, 0x482
EXIT_MSR, ENTRY_MSR, SECONDARY_MSR = 0x483, 0x484, 0x48B
MSR_OF = {PIN: PIN_MSR, CPU: CPU_MSR, SECONDARY: SECONDARY_MSR, EXIT: EXIT_MSR, ENTRY: ENTRY_MSR}
WRITE_BACK, TRUE_CONTROLS = 6 << 50, 1 << 55
NESTED_FEATURES, ENLIGHTENED_BITMAP = 0x4000000A, 1 << 19
USE_MSR_BITMAPS = 1 << 28


def bits(*numbers):
    return sum(1 << number for number in numbers)


# What v4.19 asks for: the bits it cannot do without, and those it takes where they are.
MINIMUM = {
    PIN: bits(0, 3),
    CPU: bits(7, 9, 10, 11, 15, 16, 19, 20, 23, 24, 29, 3),
    SECONDARY: 0,
    EXIT: bits(2, 9, 15),
    ENTRY: bits(2),
}
OPTIONAL = {
    PIN: bits(5, 6, 7),
    CPU: bits(21, 28, 31),
    SECONDARY: bits(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 20, 25),
    EXIT: bits(18, 19, 23),
    ENTRY: bits(14, 16),
}
# With a TPR shadow CR8 goes to the guest, with EPT so do CR3 and INVLPG.
GIVEN_UP = {PIN: 0, CPU: bits(9, 15, 16, 19, 20), SECONDARY: 0, EXIT: 0, ENTRY: 0}

# What the enlightened VMCS has no fields for.
SANITISED = {
    PIN: bits(6, 7), CPU: 0, SECONDARY: bits(0, 8, 9, 10, 13, 14, 17, 25), EXIT: bits(12),
    ENTRY: bits(13),
}


def everything():
    """Capability MSRs that allow every control, and insist on PERF_GLOBAL_CTRL's two."""
    must = {PIN: 0x16, CPU: 0x04006172, SECONDARY: 0, EXIT: 0x00036DFB | 1 << 12,
            ENTRY: 0x000011FB | 1 << 13}
    msrs = {MSR_OF[word]: 0xFFFFFFFF << 32 | low for word, low in must.items()}
    exact = {PIN: 0x48D, CPU: 0x48E, EXIT: 0x48F, ENTRY: 0x490}
    return must, msrs | {exact[word]: msrs[MSR_OF[word]] for word in exact}


def config(machine, module):
    """vmcs_config; v4.19's own has these words alone."""
    if hasattr(machine, "image"):
        at = machine.image.elf.symbols["vmcs_config"]
        return list((ctypes.c_uint32 * 9).from_address(at))
    with machine.cpu(0):
        return [module.port.config_word(n) for n in range(9)]


@pytest.mark.case("PRT-30", "PRT-40", "P01-controls")
@pytest.mark.parametrize("enlightened", [False, True])
def test_controls_are_adjusted_and_then_sanitised(kernel, enlightened):
    if kernel.version != (4, 19):
        pytest.skip("the tables above are of v4.19's setup_vmcs_config()")
    must, msrs = everything()
    with kernel(msrs=msrs, unfinished=True) as machine:
        words = config(machine, machine.insmod(enlightened_vmcs=enlightened))
    for word, low in must.items():
        expected = (MINIMUM[word] | OPTIONAL[word] | low) & ~GIVEN_UP[word]
        if enlightened:
            expected &= ~SANITISED[word]
        assert words[word] == expected, (word, hex(words[word]), hex(expected))


@pytest.mark.case("PRT-40")
@pytest.mark.parametrize("word, bit", [(word, bit) for word in MINIMUM for bit in range(32)
                                       if MINIMUM[word] >> bit & 1])
def test_a_load_without_a_bit_of_the_minimum_is_refused(kernel, word, bit):
    must, msrs = everything()
    low = must[word] & ~(1 << bit)
    exact = {PIN: 0x48D, CPU: 0x48E, EXIT: 0x48F, ENTRY: 0x490}[word]
    value = (0xFFFFFFFF & ~(1 << bit)) << 32 | low
    with kernel(msrs=msrs | {MSR_OF[word]: value, exact: value}, unfinished=True) as machine:
        with pytest.raises(OSError) as refused:
            machine.insmod()
        assert refused.value.errno == EIO


@pytest.mark.case("PRT-40")
@pytest.mark.parametrize("bit", [2, 3, 5, 11, 25])
def test_an_optional_bit_that_is_not_there_is_done_without(kernel, bit):
    if kernel.version != (4, 19):
        pytest.skip("the tables above are of v4.19's setup_vmcs_config()")
    _, msrs = everything()
    with kernel(msrs=msrs | {SECONDARY_MSR: (0xFFFFFFFF & ~(1 << bit)) << 32},
                unfinished=True) as machine:
        words = config(machine, machine.insmod(enlightened_vmcs=False))
    assert words[SECONDARY] == OPTIONAL[SECONDARY] & ~(1 << bit)


@pytest.mark.case("PRT-42")
@pytest.mark.parametrize("basic, errno", [
    (WRITE_BACK | 4096 << 32, 0), (WRITE_BACK | 4097 << 32, EIO), (WRITE_BACK | 8191 << 32, EIO),
    (WRITE_BACK | 1 << 48 | 4096 << 32, EIO), (4096 << 32, EIO), (5 << 50 | 4096 << 32, EIO),
    (7 << 50 | 4096 << 32, EIO), (WRITE_BACK | 1024 << 32, 0),
])
def test_vmx_basic_must_make_sense(kernel, basic, errno):
    with kernel(msrs={BASIC: basic | TRUE_CONTROLS | 0x1234}, unfinished=True) as machine:
        if not errno:
            module = machine.insmod()
            if kernel.version != (4, 19):
                return
            words = config(machine, module)
            assert words[SIZE] == basic >> 32 & 0x1FFF and words[REVISION] == 0x1234
            assert words[ORDER] == 0
            return
        with pytest.raises(OSError) as refused:
            machine.insmod()
        assert refused.value.errno == errno


@pytest.mark.case("PRT-20")
@pytest.mark.parametrize("enlightened", [False, True])
def test_an_evmcs_has_revision_1_and_a_vmxon_region_the_processors(kernel, enlightened):
    with kernel(cpus=2) as machine:
        revision = machine.cpu(0).rdmsr(BASIC).value & 0x7FFFFFFF
        assert revision != 1
        machine.start_trace()
        module = machine.insmod(enlightened_vmcs=enlightened)
        vcpu = module.create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
        regions = [entry.operands[0] for entry in machine.trace
                   if entry.instruction == "vmxon"]
        assert len(set(regions)) == 2
        for region in regions:
            assert int.from_bytes(machine.memory.read(region, 4), "little") == revision
        assert int.from_bytes(machine.memory.read(vcpu.vmcs_gpa, 4), "little") == \
            (1 if enlightened else revision)


@pytest.mark.needs("hyperv")
@pytest.mark.case("PRT-22")
def test_a_run_sets_the_low_half_of_the_clean_fields_and_keeps_the_upper(kernel):
    with kernel() as machine:
        vcpu = machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
        vcpu.run(exits=1)
        machine.memory.write(vcpu.vmcs_gpa + CLEAN_FIELDS, (0x12340000).to_bytes(4, "little"))
        vcpu.run(exits=1)
        word = machine.memory.read(vcpu.vmcs_gpa + CLEAN_FIELDS, 4)
        assert int.from_bytes(word, "little") == 0x1234FFFF


def intercepted(bitmap):
    """{(msr, "r" or "w")} whose bit is set."""
    bases = {"r": (0, 0x400), "w": (0x800, 0xC00)}
    return {(msr + start, kind) for kind, bases_ in bases.items()
            for base, start in zip(bases_, (0, 0xC0000000)) for msr in range(0x2000)
            if bitmap[base + msr // 8] >> msr % 8 & 1}


SYSENTER, FS_GS = (0x174, 0x175, 0x176), (0xC0000100, 0xC0000101, 0xC0000102)
# What vmx_vcpu_create() of later ones leaves to the guest besides.
TSC = (0x10, "r")
X2APIC_TPR, X2APIC_MODE, SECONDARY_CONTROLS = 0x808, 1 << 4, 0x401E


@pytest.mark.case("PRT-26")
@pytest.mark.parametrize("enlightened", [False, True])
def test_the_msr_bitmap_of_a_new_vcpu(kernel, enlightened):
    """Twelve bits are clear, by number of the MSR and by access; all the others are set. The port
    is asked for x2APIC's besides, by its own functions."""
    with kernel() as machine:
        module = machine.insmod(enlightened_vmcs=enlightened)
        vcpu = module.create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
        load(vcpu)
        gpa = vcpu.vmcs["MSR_BITMAP"]
        every = set(itertools.product((*range(0x2000), *range(0xC0000000, 0xC0002000)), "rw"))
        mine = set(itertools.product((*SYSENTER, *FS_GS), "rw")) | {
            TSC for _ in range(kernel.version >= (6,))}
        assert intercepted(machine.memory.read(gpa, 4096)) == every - mine
        if not kernel.is_port:
            return

        with machine.cpu(0):
            module.port.vmcs_set_bits(SECONDARY_CONTROLS, X2APIC_MODE)
            module.port.vmx_update_msr_bitmap(vcpu)
        after = intercepted(machine.memory.read(gpa, 4096))
        assert every - mine - after == {(X2APIC_TPR, "r"), (X2APIC_TPR, "w")}
        assert after <= every - mine


@pytest.mark.case("PRT-44")
@pytest.mark.parametrize("offered, enlightened, bitmaps",
                         list(itertools.product([False, True], repeat=3)))
def test_the_enlightened_msr_bitmap_needs_all_three(kernel, offered, enlightened, bitmaps):
    must, _ = everything()
    without = (0xFFFFFFFF & ~USE_MSR_BITMAPS) << 32 | must[CPU]
    msrs = {} if bitmaps else {CPU_MSR: without, 0x48E: without}
    leaf = (1 << 8 | 1 | ENLIGHTENED_BITMAP * offered, 0, 0, 0)
    with kernel(cpuid={NESTED_FEATURES: leaf}, msrs=msrs, unfinished=True) as machine:
        module = machine.insmod(enlightened_vmcs=enlightened)
        vcpu = module.create_vm(code=CPUID_LOOP).create_vcpu(cpu=0)
        control = int.from_bytes(machine.memory.read(vcpu.vmcs_gpa + 836, 4), "little")
        if enlightened:
            # vmx_vcpu_create() of later ones asks for it without bitmaps too
            used = offered and (bitmaps or kernel.version >= (6,))
            assert control & 2 == (2 if used else 0)
            assert bool(vcpu.evmcs["MSR_BITMAP"]) == bitmaps
        else:
            assert control == 0
