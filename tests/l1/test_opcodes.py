# SPDX-License-Identifier: GPL-2.0-only
"""The opcodes in the text of the built module, each in the function that the kernel has it in."""

import collections
import importlib
import pathlib
import re

import pytest
import text

from kvm_vmx import Machine
from kvm_vmx.machine import sites as elf

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Where v4.19's vmx.c has the instruction; all but the entries are inlined into callers too.
HOME = {
    "vmxon": {"kvm_cpu_vmxon"},
    "vmxoff": {"kvm_cpu_vmxoff"},
    "vmclear": {"vmcs_clear"},
    "vmptrld": {"vmcs_load"},
    "vmread": {"__vmcs_readl"},
    "vmwrite": {"__vmcs_writel", "vmx_vcpu_run"},
    "invept": {"__invept"},
    "invvpid": {"__invvpid"},
    "vmlaunch": {"vmx_vcpu_run"},
    "vmresume": {"vmx_vcpu_run"},
}
# Elsewhere in the kernel, MSRs are read and written in place by these.
MSR = {"rdmsr": r"\brdmsrl?(?:_safe)?\(", "wrmsr": r"\bwrmsrl?(?:_safe)?\(|update_debugctlmsr\("}


@pytest.fixture(scope="module")
def opcodes():
    """{mnemonic: {function: [instruction]}} of kvm-intel as it is mapped here."""
    with Machine(cpus=1) as machine:
        path = machine.insmod().path
    base = elf.load_base(path)
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    for address, size, name, kind in elf.symbols(path)[1]:
        ours = elf.demangle(name).startswith("bench_")     # loops that time the accessors
        if kind == elf.STT_FUNC and size and not name.startswith("_init") and not ours:
            for insn in text.decode_all(text.read(base + address, size), base + address):
                if insn.mnemonic in HOME or insn.mnemonic in MSR:
                    found[insn.mnemonic][elf.demangle(name)].append(insn)
    return found


@pytest.fixture(scope="module")
def bodies():
    """{function: its text} of vmx.pyx and what its module has besides, without comments."""
    source = "".join(re.sub(r"#.*", "", (ROOT / "kvm_vmx/l1" / name).read_text())
                     for name in ("vmx.pyx", "vmx_exports.pxi"))
    parts = re.split(r"^cdef [^\n(=]*?(\w+)\(", source, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def inlined_into(bodies, homes):
    """The functions that hold one of `homes`, if the compiler inlines whatever it can."""
    reached, front = set(homes), set(homes)
    while front:
        calls = re.compile(rf"\b(?:{'|'.join(front)})\(")
        front = {name for name, body in bodies.items() if calls.search(body)} - reached
        reached |= front
    return reached


@pytest.mark.parametrize("mnemonic", HOME)
def test_a_vmx_opcode_stands_where_the_kernel_has_it(opcodes, bodies, mnemonic):
    for home in HOME[mnemonic] - {"vmx_vcpu_run"}:
        assert f"asm_{mnemonic}(" in bodies[home]
    assert opcodes[mnemonic]
    assert set(opcodes[mnemonic]) <= inlined_into(bodies, HOME[mnemonic])


def test_an_entry_is_one_vmlaunch_and_one_vmresume(opcodes):
    for mnemonic in ("vmlaunch", "vmresume"):
        counts = {name: len(insns) for name, insns in opcodes[mnemonic].items()}
        assert counts == {"vmx_vcpu_run": 1}


def test_the_stack_pointer_goes_by_vmwrite_beside_the_entry_alone(opcodes):
    rsp = [(name, insn.op_str) for name, insns in opcodes["vmwrite"].items()
           for insn in insns if "rsp" in insn.op_str]
    assert rsp == [("vmx_vcpu_run", "rdx, rsp")]


@pytest.mark.parametrize("mnemonic, operands", [
    ("vmread", {"rax, rdx"}), ("vmwrite", {"rdx, rax", "rdx, rsp"}),
    ("vmptrld", {"qword ptr [rax]"}), ("vmclear", {"qword ptr [rax]"}),
    ("vmxon", {"qword ptr [rax]"}), ("invept", {"rcx, xmmword ptr [rax]"}),
    ("invvpid", {"rcx, xmmword ptr [rax]"}), ("vmxoff", {""}),
])
def test_operands_are_those_of_the_kernels_byte_strings(opcodes, mnemonic, operands):
    assert {insn.op_str for insns in opcodes[mnemonic].values() for insn in insns} == operands


@pytest.mark.parametrize("mnemonic", MSR)
def test_msrs_are_accessed_where_the_source_says(opcodes, bodies, mnemonic):
    homes = {name for name, body in bodies.items() if re.search(MSR[mnemonic], body)}
    assert opcodes[mnemonic]
    assert set(opcodes[mnemonic]) <= inlined_into(bodies, homes)


# The port outside kvm-intel, by the kernel's files and functions: hv_do_hypercall() calls the
# hypercall page, whose instruction is VMCALL; __cpuid() and the MSR accessors are inlined.
ELSEWHERE = {
    "kvm_vmx.l1.hv_init": {
        "vmcall": {"hv_do_hypercall"},
        "wrmsr": {"hv_cpu_init", "hv_cpu_die", "hyperv_init", "hyperv_cleanup", "hyperv_shutdown",
                  "hyperv_stop_tsc_emulation", "set_hv_tscchange_cb", "clear_hv_tscchange_cb"},
        "rdmsr": {"hv_cpu_init", "hv_cpu_die", "hyperv_init", "hyperv_cleanup", "hyperv_shutdown",
                  "hyperv_stop_tsc_emulation", "hyperv_reenlightenment_intr",
                  "hv_reenlightenment_notify", "clear_hv_tscchange_cb"}},
    "kvm_vmx.l1.mshyperv": {
        "cpuid": {"cpuid", "ms_hyperv_platform", "ms_hyperv_init_platform",
                  "init_hypervisor_platform"},
        "rdmsr": {"ms_hyperv_init_platform", "init_hypervisor_platform"}},
    "kvm_vmx.l1.bugs": {
        "cpuid": {"cpuid", "check_bugs"}, "rdmsr": {"check_bugs"}, "wrmsr": {"x86_virt_spec_ctrl"}},
    "kvm_vmx.l1.crash": {
        "cpuid": {"cpuid", "kdump_nmi_callback", "native_machine_crash_shutdown"},
        "vmxoff": {"kdump_nmi_callback", "native_machine_crash_shutdown"}},
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_opcodes_of_the_kernel_proper_stand_where_it_has_them(name):
    path = importlib.import_module(name).__file__
    base, found = elf.load_base(path), collections.defaultdict(set)
    for address, size, symbol, kind in elf.symbols(path)[1]:
        if kind == elf.STT_FUNC and size and not symbol.startswith("_init"):
            for insn in text.decode_all(text.read(base + address, size), base + address):
                if insn.mnemonic in {*HOME, *MSR, "vmcall", "cpuid"}:
                    found[insn.mnemonic].add(elf.demangle(symbol))
    assert {mnemonic: names - ELSEWHERE[name][mnemonic] for mnemonic, names in found.items()} == {
        mnemonic: set() for mnemonic in ELSEWHERE[name]}


def test_by_call_an_accessor_pays_one_nop_and_no_more():
    """From its first byte to RET with both keys off: two NOPs of 5 bytes, no other trace."""
    with Machine(cpus=1, insn="call") as machine:
        machine.insmod(enlightened_vmcs=False)
        found = {site["function"]: [] for site in machine.keys()}
        for site in machine.keys():
            found[site["function"]].append(site)
        for name in ("probe_read_guest_rip", "probe_write_guest_rsp", "call_vmcs_read32"):
            keys = [site["key"] for site in sorted(found[name], key=lambda site: site["address"])]
            assert sorted(keys) == ["enable_evmcs", "insn_trap"]
            assert {text.read(site["address"], 5) for site in found[name]} == {text.NOP5}
