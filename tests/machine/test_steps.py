# SPDX-License-Identifier: GPL-2.0-only
"""Single steps through the port: lines by another reader, operands by a disassembler, an exit by
what L0 saw of it."""

import glob
import pathlib
import random
import subprocess

import needed
import pytest

import kvm_vmx
from kvm_vmx import Machine, host
from kvm_vmx.machine import steps, stepping
from kvm_vmx.machine.guests import CPUID_LOOP
from kvm_vmx.machine.line_table import LineTable, NoLines, sections
from kvm_vmx.machine.operand import operand

pytestmark = pytest.mark.host("single-step")
ROOT = pathlib.Path(kvm_vmx.__file__).parent
GPR = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16))]


@pytest.fixture(scope="module")
def port():
    """The compiled port: path, line table."""
    path = glob.glob(f"{ROOT}/l1/vmx.*.so")[0]
    try:
        return path, LineTable(path)
    except NoLines as error:
        pytest.skip(f"{path}: {error}")


def test_the_lines_are_those_that_binutils_finds(port):
    needed.capability("objdump")
    path, table = port
    some = random.Random(4).sample(table.starts, 200)
    said = subprocess.run(["addr2line", "-e", path, *map(hex, some)], capture_output=True,
                          text=True, check=True).stdout.splitlines()
    wrong = [(hex(address), line, table.at(address)) for address, line in zip(some, said)
             if (place := table.at(address)) and
             f"{place[0]}:{place[1]}".rpartition("/")[2] != line.split(" ")[0].rpartition("/")[2]]
    assert wrong == []


def test_the_operands_are_those_of_a_disassembler(port):
    capstone = needed.module("capstone")
    path, _ = port
    image = pathlib.Path(path).read_bytes()
    text = sections(image)[".text"]
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail, seen = True, 0
    for insn in decoder.disasm(image[text.offset:text.offset + 60_000], text.offset):
        wanted = [one for one in insn.operands if one.type == capstone.x86.X86_OP_MEM]
        found = operand(bytes(insn.bytes) + bytes(15))
        if not found or not wanted or insn.mnemonic.startswith(("nop", "prefetch")):
            continue
        memory = wanted[0].mem
        base, index = (insn.reg_name(one) for one in (memory.base, memory.index))
        assert (found.base is None) == (base is None) and (found.other is None) == (index is None)
        assert base is None or GPR[found.base] == base, insn
        assert index is None or (GPR[found.other], found.scale) == (index, memory.scale)
        assert found.displacement == memory.disp
        # of SETcc and vectors capstone says that all are read
        if insn.mnemonic.startswith(("mov", "add", "sub", "and", "or", "cmp", "test", "inc")) \
                and "xmm" not in insn.op_str:
            assert found.store == bool(wanted[0].access & capstone.CS_AC_WRITE), insn
        seen += 1
    assert seen > 1000


@pytest.mark.parametrize("enlightened", [False, True])
def test_a_film_has_what_l0_has_seen(enlightened):
    """Under VMCS each VMREAD and VMWRITE by name; under eVMCS none, and as many loads and stores
    besides the clean bits'."""
    plain = 2 * 8
    with Machine(cpus=1, insn="trap") as machine:
        kvm = machine.insmod(enlightened_vmcs=enlightened)
        vcpu = kvm.create_vm(code=CPUID_LOOP).create_vcpu()
        vcpu.run(exits=1)
        machine.start_trace()
        with steps.filmed(machine, vcpu.vmcs_gpa if enlightened else None) as film:
            vcpu.run(exits=3)
        records = machine.trace
    assert film.complete
    vmx = [(record.instruction, steps.named(record.operands[0])) for record in records
           if record.instruction in ("vmread", "vmwrite")]
    assert vmx == [(moment.kind, moment.what) for moment in film.moments
                   if moment.kind in ("vmread", "vmwrite")]
    at = [n for n, moment in enumerate(film.moments) if moment.kind == "vmresume"]
    assert len(at) == sum(record.instruction == "vmresume" for record in records) == 3
    steady = [moment for moment in film.moments[at[0]:at[2]]
              if moment.kind in ("vmread", "vmwrite", "load", "store")]
    assert len([one for one in steady if one.what != "hv_clean_fields"]) == plain
    functions = {moment.function for moment in film.moments if moment.kind == "in"}
    assert {"vcpu_enter_guest", "vmx_vcpu_run", "kvm_emulate_cpuid",
            "skip_emulated_instruction"} <= functions


def test_a_run_is_the_same_with_and_without_a_film():
    def counted(film):
        with Machine(cpus=1, insn="trap") as machine:
            vcpu = machine.insmod().create_vm(code=CPUID_LOOP).create_vcpu()
            if film:
                with steps.filmed(machine, vcpu.vmcs_gpa):
                    vcpu.run(exits=3)
            else:
                vcpu.run(exits=3)
            return machine.counters, dict(vcpu.regs)

    assert counted(True) == counted(False)


def test_only_one_thread_at_a_time_and_only_so_much():
    stepping.start([(1, 2)])
    try:
        with pytest.raises(RuntimeError, match="one thread"):
            stepping.start([(1, 2)])
    finally:
        assert stepping.stop() == []
    for texts in ([], [(1, 2)] * 33):
        with pytest.raises(RuntimeError, match="1 to 32 texts"):
            stepping.start(texts)
    with pytest.raises(MemoryError):
        stepping.start([(1, 2)], room=0)


def test_what_is_no_module_has_no_lines(tmp_path):
    (tmp_path / "text").write_text("nothing")
    with pytest.raises(NoLines, match="no ELF file"):
        LineTable(str(tmp_path / "text"))


def test_absent_it_says_why(monkeypatch):
    monkeypatch.setenv(host.WITHOUT, "single-step")
    steps.can_step.cache_clear()
    assert host.WITHOUT in steps.can_step()
    steps.can_step.cache_clear()
