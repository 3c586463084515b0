# SPDX-License-Identifier: GPL-2.0-only
"""The weaknesses of v4.19 that the port keeps, one test each, named as in docs/errata.md."""

import os
import pathlib
import re
import subprocess

import guests
import pytest

from kvm_vmx import KernelBug, Machine
from kvm_vmx.machine import long_mode
from kvm_vmx.machine.fields import CLEAN_FIELDS
from kvm_vmx.machine.guests import CPUID_LOOP

pytestmark = pytest.mark.needs("hyperv")

ROOT = pathlib.Path(__file__).parents[2]
SMALL = 16 << 20
MSR_BITMAP = 1 << 1                     # clean-field bits
HOST_POINTER = 1 << 13
VM_INSTRUCTION_ERROR = 688              # an offset in the eVMCS
NESTED_FEATURES = 0x4000000A
REENLIGHTENMENT = 0x40000106
ENLIGHTENED_BITMAP = 1 << 19

GUEST_PERF_GLOBAL_CTRL = 0x2808         # a hole of the table
ENCLS_EXITING_BITMAP = 0x202E           # beyond it
SECONDARY_CONTROLS, ENCLS_EXITING, X2APIC_MODE = 0x401E, 1 << 15, 1 << 4

# Capability MSRs that allow a 1 in more places than the profile does.
LOAD_PERF_ON_ENTRY = {0x484: 0x0000F3FF000011FF, 0x490: 0x0000F3FF000011FB}
LOAD_PERF_ON_EXIT = {0x483: 0x003FFFFF00036DFF, 0x48F: 0x003FFFFF00036DFB}
ENCLS = {0x48B: (0x000118FE | ENCLS_EXITING) << 32}


def guest(machine, cpu=0, **insmod):
    """The module, a VM and a vCPU that has run."""
    module = machine.insmod(**insmod)
    vm = module.create_vm(code=CPUID_LOOP)
    vcpu = vm.create_vcpu(cpu=cpu)
    vcpu.run(exits=10)
    return module, vm, vcpu


def word(machine, gpa, length=4):
    return int.from_bytes(machine.memory.read(gpa, length), "little")


def dirty_free_memory(machine):
    """Leave 0xAA in all memory behind what a kernel that has just booted holds: its first pages."""
    start = (machine.allocations["pages"] + 1) * 4096
    machine.memory.write(start, b"\xaa" * (machine.memory.size - start))


def test_holes():
    with Machine() as m:
        module, _, vcpu = guest(m)
        warnings = m.warnings
        with m.cpu(0):
            assert module.port.vmcs_read32(GUEST_PERF_GLOBAL_CTRL) == 1
            module.port.vmcs_write64(GUEST_PERF_GLOBAL_CTRL, 0x1122334455667788)
        assert word(m, vcpu.vmcs_gpa, 8) == 0x1122334455667788
        assert m.warnings == warnings


def test_host_rsp():
    with Machine(cache_policy="never") as m:
        _, _, vcpu = guest(m)
        assert vcpu.run(exits=10, stack_depth=64).exits == 10
    with Machine(cache_policy="always") as m:
        _, _, vcpu = guest(m)
        with pytest.raises(KernelBug, match="stale host state"):
            vcpu.run(exits=10, stack_depth=64)
        assert vcpu._raw is not None and "RSP" in m.dmesg[-1]


def test_perf_global_ctrl():
    with Machine(msrs=LOAD_PERF_ON_ENTRY | LOAD_PERF_ON_EXIT) as m:
        _, _, vcpu = guest(m)
        assert word(m, vcpu.vmcs_gpa) == 1
        m.perf_guest_events(host=3, guest=5)
        vcpu.run(exits=1)
        assert word(m, vcpu.vmcs_gpa) == 3
        assert vcpu.evmcs["VM_ENTRY_CONTROLS"] & 1 << 13
        assert vcpu.evmcs["VM_EXIT_CONTROLS"] & 1 << 12


def test_encls():
    with Machine(msrs=ENCLS) as m:
        _, _, vcpu = guest(m)
        assert vcpu.evmcs["SECONDARY_VM_EXEC_CONTROL"] & ENCLS_EXITING
        assert any(f"unsupported EVMCS field {ENCLS_EXITING_BITMAP:x}" in line for line in m.dmesg)


def test_touch_current():
    with Machine(cpuid={NESTED_FEATURES: (1 << 8 | 1 | ENLIGHTENED_BITMAP, 0, 0, 0)}) as m:
        _, vm, first = guest(m)
        assert first.evmcs.clean_fields & MSR_BITMAP
        vm.create_vcpu(cpu=0)
        assert not first.evmcs.clean_fields & MSR_BITMAP


def test_x2apic_bitmap():
    with Machine(cpuid={NESTED_FEATURES: (1 << 8 | 1 | ENLIGHTENED_BITMAP, 0, 0, 0)}) as m:
        module, _, vcpu = guest(m)

        def switch(on):
            """The MSR_BITMAP clean bit after the bitmap follows the mode."""
            with m.cpu(0):
                change = module.port.vmcs_set_bits if on else module.port.vmcs_clear_bits
                change(SECONDARY_CONTROLS, X2APIC_MODE)
                before = m.memory.read(vcpu.evmcs["MSR_BITMAP"], 4096)
                module.port.vmx_update_msr_bitmap(vcpu)
                assert m.memory.read(vcpu.evmcs["MSR_BITMAP"], 4096) != before
            return bool(vcpu.evmcs.clean_fields & MSR_BITMAP)

        assert not switch(on=True)
        with m.cpu(0):
            module.port.vmcs_clear_bits(SECONDARY_CONTROLS, X2APIC_MODE)
            module.port.vmcs_set_bits(SECONDARY_CONTROLS, X2APIC_MODE)
        m.memory.write(vcpu.vmcs_gpa + CLEAN_FIELDS, b"\xff\xff\x00\x00")
        assert switch(on=False)


def test_stale_assist():
    with Machine(cpus=2) as m:
        module, vm, vcpu = guest(m, cpu=1)
        vm.destroy()
        assert m.assist_page(1)[40] == 1
        m.offline(1)
        module.rmmod()
        page = m.assist_page(1)
        assert page[40] == 1 and int.from_bytes(page[48:56], "little") != 0


def test_two_pages():
    with Machine(cpus=2) as m:
        _, _, vcpu = guest(m, cpu=0)
        vcpu.cpu = 1
        vcpu.run(exits=10)
        pages = [m.assist_page(cpu) for cpu in (0, 1)]
        assert [int.from_bytes(page[48:56], "little") for page in pages] == [vcpu.vmcs_gpa] * 2
        assert [m.cpu(cpu).active_evmcs for cpu in (0, 1)] == [None, vcpu.vmcs_gpa]


def test_online_race():
    with Machine(cpus=1, possible_cpus=2) as m:
        module = m.insmod()
        m.fail("vmalloc", 1)
        m.online(1)
        assert m.assist_page(1) is None and module.enable_evmcs
        with pytest.raises(OSError) as failure:
            module.create_vm(code=CPUID_LOOP)
        # hardware_enable_all() makes an -EBUSY of hardware_enable()'s -EFAULT
        assert failure.value.errno == 16
        assert "enabling virtualization on CPU1 failed" in m.dmesg[-1]


def test_early_vmclear():
    basic = 1 << 55 | 1 << 54 | 6 << 50 | 1024 << 32 | 0x11E57ED0
    with Machine(msrs={0x480: basic}, memory=SMALL) as m:
        dirty_free_memory(m)
        vm = m.insmod().create_vm(code=CPUID_LOOP)
        stored = []
        for _ in range(2):
            vcpu = vm.create_vcpu(cpu=0)
            stored.append(3072 - m.memory.read(vcpu.vmcs_gpa + 1024, 3072).count(0xAA))
        assert stored[0] > stored[1] == 0


def test_offline_order():
    """Of two eVMCSs on the CPU, L0 knows the active one; the other one's VMCLEAR is a plain one."""
    with Machine(cpus=2) as m:
        _, vm, vcpu = guest(m, cpu=1)
        tail = vcpu.vmcs_gpa + 1024
        m.memory.write(tail, b"\xff" * 3072)
        other = vm.create_vcpu(cpu=1)
        other.run(exits=10)
        for cpu in (0, 1):
            vcpu.cpu = cpu
            vcpu.run(exits=10)
        other.run(exits=10)
        assert m.memory.read(tail, 3072) == b"\xff" * 3072
        m.offline(1)
        assert m.memory.read(tail, 3072) != b"\xff" * 3072


def test_kexec_assist():
    with Machine(cpus=2) as m:
        page = m.assist_page_gpa(1)
        m.kexec(cpus=1)
        assert m.assist_page(1) is None
        assert m.cpu(1).rdmsr(0x40000073).value == page | 1
        # what Hyper-V holds for an assist page is free for anyone
        assert page in [m.memory.alloc() for _ in range(page >> 12)]


def test_preemptible_target():
    said = "BUG: using smp_processor_id() in preemptible [00000000] code: insmod/0"
    for lints in (True, False):
        with Machine(cpus=2, lints=lints) as m:
            m.insmod()
            assert (said in m.dmesg) is lints
            assert m.cpu(0).rdmsr(REENLIGHTENMENT).value == 0x100EE


def test_no_vp_index():
    with Machine(fail={"kmalloc": 1}) as m:         # the table of VP indexes
        with pytest.raises(KernelBug, match="kernel BUG: .*hv_init"):
            m.insmod()


def test_resume_msrs():
    with Machine(cpus=2) as m:
        module, vm, vcpu = guest(m, cpu=1)
        m.suspend()
        assert [m.cpu(n).rdmsr(0x40000073).value & 1 for n in (0, 1)] == [0, 1]
        assert m.cpu(0).rdmsr(0x40000001).value == 0
        assert vcpu.run(exits=10).reason == "INTR"
        vcpu.cpu = 0
        assert m.assist_page(0) is not None and module.enable_evmcs
        failed = vcpu.run(exits=10)
        assert failed.reason == "FAIL_ENTRY" and failed.refusal.id == "assist_page_off"


def test_assist_not_zeroed():
    with Machine(cpus=1, possible_cpus=2, memory=SMALL) as m:
        dirty_free_memory(m)
        m.online(1)
        assert m.assist_page(1)[40] == 0xAA
        with pytest.raises(KernelBug):
            guest(m, cpu=1, enlightened_vmcs=False)


def test_assist_layout():
    layout = re.search(
        r"struct hv_vp_assist_page \{(.*?)\}", (ROOT / "include/asm/hyperv-tlfs.h").read_text(),
        re.S)[1]
    members = re.findall(r"u(\d+) (\w+)(?:\[(\d+)\])?;", layout)
    offset = 0
    for bits, name, count in members:
        if name == "nested_enlightenments_control":
            break
        offset += int(bits) // 8 * int(count or 1)
    assert offset == 24


def test_not_packed(tmp_path):
    (tmp_path / "packed.c").write_text("#include <asm/hyperv-tlfs.h>\n")
    compiler = ["gcc", "-std=gnu11", "-fsyntax-only", "-I", ROOT / "include", "packed.c"]
    assert subprocess.run(compiler, cwd=tmp_path).returncode == 0
    packed = subprocess.run([*compiler, "-fpack-struct=1"], cwd=tmp_path,
                            capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    assert packed.returncode == 1
    assert "static assertion failed" in packed.stderr and "hv_enlightened_vmcs" in packed.stderr


def no_page_address():
    """page_address(NULL) of v4.19 with four levels: mm.h's __va(PFN_PHYS(page_to_pfn(NULL)))."""
    vmemmap, page_offset, struct_page = 0xFFFFEA0000000000, 0xFFFF880000000000, 64
    pfn = ((0 - vmemmap) & (1 << 64) - 1) // struct_page
    return (pfn << 12) + page_offset & (1 << 64) - 1


def without_input_page(m):
    """CPU 1 comes up, and there is no page for its hypercall input."""
    m.offline(1)
    m.fail("page", 1)
    m.online(1)
    assert m.failures_left == {}


def test_input_page():
    address = no_page_address()
    assert address == 0x0005080000000000
    for enlightened in (True, False):
        with Machine(cpus=2, profile="tlfs-strict") as m:
            _, vm, vcpu = guest(m, enlightened_vmcs=enlightened)
            without_input_page(m)
            with m.cpu(1):
                with pytest.raises(KernelBug, match=f"general protection fault: .*{address:x}"):
                    vm.move_page(0x1000)


def test_input_page_of_a_cpu_that_goes_offline():
    with Machine(cpus=2, profile="tlfs-strict") as m:
        guest(m)
        without_input_page(m)
        with pytest.raises(KernelBug, match="general protection fault"):
            m.offline(1)
    with Machine(cpus=2, profile="tlfs-strict") as m:     # a power cut frees nothing
        guest(m)
        without_input_page(m)


def test_flush_early():
    with Machine(cpus=2, profile="tlfs-strict") as m:
        vm = m.insmod().create_vm(code=CPUID_LOOP)
        first, second = vm.create_vcpu(cpu=0), vm.create_vcpu(cpu=1)
        with m.cpu(0):
            vm.move_page(0x1000)
        assert m.counters["vmcall"] == 1
        input_page = word(m, m._kernel.hypercall_input(0), 8)
        assert input_page == 0
        first.run(exits=10)
        with m.cpu(0):
            vm.move_page(0x1000)            # one has a pointer, the other has not
        assert m.counters["vmcall"] == 1
        second.run(exits=10)
        with m.cpu(0):
            vm.move_page(0x1000)
        assert m.counters["vmcall"] == 2
        assert word(m, m._kernel.hypercall_input(0), 8) == first.vmcs["EPT_POINTER"] & ~0xFFF


def test_segment_cache():
    """A vCPU is reset by a thread that loses its CPU: SS as KVM has it, and as the VMCS has."""
    def after_reset(preempted_before):
        with Machine(insn="call") as m:     # what traps is not preempted here
            module = m.insmod(enlightened_vmcs=False)
            vm = module.create_vm()
            m.preempt(preempted_before)
            raw, ret = vm._raw.create_vcpu(0)
            m.preempt(0)
            assert ret == 0
            raw.load(0)
            with m.cpu(0):
                rights = module.port.vmcs_read32(0x4818)
            ss = raw.get_sregs(0)["ss"]
            return ss["type"] | ss["s"] << 4 | ss["present"] << 7, rights & 0x9F

    assert after_reset(0) == (0x93, 0x93)
    # Access rights of 0 are those of a segment that is present, as KVM tells user space.
    assert {after_reset(n) for n in range(1, 150, 3)} == {(0x93, 0x93), (0x80, 0x93)}


def test_a_preemption_that_cannot_be():
    with Machine(insn="call") as m:
        with pytest.raises(ValueError, match="give 1 for the next one"):
            m.preempt(-1)
        m.preempt(3)
        assert m.failures_left == {"preempt": 3}
        m.preempt(0)
        assert m.failures_left == {}


def test_tsd_cached():
    TSD = 1 << 2
    code = bytes.fromhex("0f20e0" "4883c804" "0f22e0" "f4")     # set CR4.TSD: no exit
    with Machine() as m:
        module = m.insmod()
        vcpu = module.create_vm(code=code).create_vcpu(cpu=0)
        assert vcpu.run(exits=10).reason == "HLT"
        vcpu._raw.load(0)
        with m.cpu(0):
            assert module.port.vmcs_readl(0x6804) & TSD
            assert module.port.kvm_read_cr4_bits(vcpu, TSD) == 0
            assert module.port.kvm_read_cr4_bits(vcpu, TSD | 1 << 3) == TSD
            assert module.port.kvm_read_cr4_bits(vcpu, TSD) == TSD


def spec_ctrl_guest(m, *values):
    """A guest that is shown SPEC_CTRL has written these, one after the other, and halts."""
    code = "".join(f"b8{value:02x}00000031d2b9480000000f30" for value in values) + "f4"
    vcpu = m.insmod().create_vm(code=bytes.fromhex(code)).create_vcpu(cpu=0)
    entries = long_mode.cpuid_entries(m.cpu(0))
    entries[0]["eax"] = 7
    entries.append(dict(function=7, index=0, flags=0, eax=0, ebx=0, ecx=0, edx=1 << 26))
    assert vcpu._raw.set_cpuid(0, entries) == 0
    assert vcpu.run(exits=100).reason == "HLT"
    return m.cpu(0).rdmsr(0x48).value


@pytest.mark.parametrize("values, left", [
    ([1], 0), ([1, 3], 0), ([1, 4], 4), ([4], 0), ([1, 5], 0), ([1, 6], 0)])
def test_ssbd_stays(values, left):
    with Machine() as m:
        assert spec_ctrl_guest(m, *values) == left


@pytest.mark.parametrize("msr, value, vector", [
    (0x201, 1, 8), (0x200, 0x106, 8), (0x200, 2, 13), (0x2FF, 0x1000, 13)])
def test_mtrr_gp(msr, value, vector):
    """The vector that a bad write of an MTRR raises."""
    code = f"b8{value.to_bytes(4, 'little').hex()}31d2b9{msr.to_bytes(4, 'little').hex()}0f30"
    with Machine() as m:
        run = guests.Run(m, m.insmod(), code, {8: "f4", 13: "f4"})
        assert run.vcpu.run(exits=10).reason == "HLT"
        assert (run.count(8), run.count(13)) == (vector == 8, vector == 13)


@pytest.mark.parametrize("low, high", [(2, 2), (5, 9)])
@pytest.mark.case("CPU-03")
def test_version_range(low, high):
    with Machine(cpuid={NESTED_FEATURES: (high << 8 | low, 0, 0, 0)}) as m:
        module, _, vcpu = guest(m)
        assert module.enable_evmcs and word(m, vcpu.vmcs_gpa) == 1


def test_leaf_a_unchecked():
    def leaves_read(highest):
        """CPUID instructions of a boot where Hyper-V has leaves up to `highest`."""
        with Machine(cpuid={0x40000000: (highest, 0x7263694D, 0x666F736F, 0x76482074)}) as m:
            return m.counters["cpuid"]

    assert leaves_read(0x40000005) == leaves_read(0x4000000A)


def test_key_left_on():
    with Machine() as m:
        m.fail("page", 1)
        with pytest.raises(OSError, match="Cannot allocate memory"):
            m.insmod()
        assert "using Hyper-V Enlightened VMCS" in m.dmesg[-1]
        assert not m.insmod(enlightened_vmcs=False).enable_evmcs


def test_bitmaps_leaked():
    with Machine() as m:
        before = m.allocations["pages"]
        m.fail("page", 3)
        with pytest.raises(OSError, match="Cannot allocate memory"):
            m.insmod()
        assert m.allocations["pages"] == before + 2


def test_memset_size():
    basic = 1 << 55 | 1 << 54 | 6 << 50 | 1024 << 32 | 0x11E57ED0
    with Machine(msrs={0x480: basic}, memory=SMALL) as m:
        dirty_free_memory(m)
        _, _, vcpu = guest(m)
        # but for what a plain VMCLEAR stores before there is an assist page to tell by
        assert m.memory.read(vcpu.vmcs_gpa + 1024, 3072).count(0xAA) > 3000


def test_clean_after_failure():
    with Machine() as m:
        _, vm, _ = guest(m)
        vcpu = vm.create_vcpu(cpu=0)
        with m.cpu(0):
            vm.module.port.vmcs_write64(0x2800, 0)          # a VMCS link pointer that is refused
        assert vcpu.run(exits=1).reason == "FAIL_ENTRY"
        assert vcpu.evmcs.clean_fields == 0xFFFF


def test_stale_error():
    with Machine() as m:
        _, vm, _ = guest(m)
        vcpu = vm.create_vcpu(cpu=0)
        m.memory.write(vcpu.vmcs_gpa + VM_INSTRUCTION_ERROR, (7).to_bytes(4, "little"))
        m.memory.write(vcpu.vmcs_gpa, (99).to_bytes(4, "little"))       # a revision of nobody's
        summary = vcpu.run(exits=1)
        assert summary.reason == "FAIL_ENTRY" and 7 in summary.data.values()


MARK = re.compile(r"erratum: (\w+)")


def test_every_mark_is_documented_and_tested():
    sources = [path for room in ("kvm_vmx/l1", "include") for path in (ROOT / room).rglob("*")
               if path.suffix in (".pyx", ".pxd", ".h")]
    marked = {name for path in sources for name in MARK.findall(path.read_text())}
    documented = set(re.findall(r"^## (\w+)$", (ROOT / "docs/errata.md").read_text(), re.M))
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert marked == documented
    assert marked <= tested
