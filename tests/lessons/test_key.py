# SPDX-License-Identifier: GPL-2.0-only
"""The lesson `key`: its answers by what the processor would fetch, read from this process."""

import ctypes

import needed
import pytest
import rules

from kvm_vmx import Machine
from kvm_vmx.lessons import key

capstone = needed.module("capstone")
KERNELS = set(rules.data("function_order_4.19.json")["arch/x86/kvm/vmx.c"])
DECODER = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
BRANCHES = rules.data("static_branches_4.19.json")


def fetched(address):
    """(bytes, length, where the processor goes on) of the one instruction at an address."""
    code = ctypes.string_at(address, 5)
    insn = next(DECODER.disasm(code, address))
    assert insn.mnemonic in ("nop", "jmp")
    goes_on = int(insn.op_str, 16) if insn.mnemonic == "jmp" else address + insn.size
    return code, insn.size, goes_on - address


def addresses(machine):
    """{site as the lesson names it: address}, of the sites in v4.19's functions."""
    found = {}
    for site in machine.keys():
        if site["key"] == "enable_evmcs" and site["function"] in KERNELS:
            found.setdefault(site["function"], []).append(site["address"])
    return {f"{function} #{nth}": address for function, places in sorted(found.items())
            for nth, address in enumerate(sorted(places), 1)}


@pytest.fixture(scope="module")
def text():
    """Each site as it reads with the key off and with it on: {name: (off, on)}."""
    states = []
    with Machine(cpus=1) as machine:
        for on in (False, True):
            kvm = machine.insmod(enlightened_vmcs=on)
            states.append({name: fetched(at) for name, at in addresses(machine).items()})
            kvm.rmmod()
    off, on = states
    assert off.keys() == on.keys()
    return {name: (off[name], on[name]) for name in off}


@pytest.mark.soak
def test_the_answers_are_what_the_text_says(text, soak):
    asked = set()
    changed = sum(off[0] != on[0] for off, on in text.values())
    for seed in range(1000 if soak else 40):
        record = key.run(seed)
        off, on = text[record.given["site"]]
        assert record.values == {"on": on[2], "off": off[2], "changed": changed}, seed
        assert record.given["bytes"] == on[0].hex()
        assert record.given["before"] == [off[0].hex() for off, _ in text.values()]
        assert record.given["after"] == [on[0].hex() for _, on in text.values()]
        asked.add(record.given["site"])
    assert len(asked) > (60 if soak else 20)


def test_a_site_is_five_bytes_and_its_jump_leads_elsewhere(text):
    """A NOP while the key is off, a JMP of as many bytes while it is on; never to the next one."""
    for name, (off, on) in text.items():
        assert off[:2] == (bytes.fromhex("0f1f440000"), 5) and off[2] == 5, name
        assert on[0][0] == 0xE9 and on[1] == 5 and on[2] != 5, name


def test_each_branch_of_v4_19_that_stays_a_function_is_there(text):
    """The functions that test the key themselves and that the compiler has left whole."""
    functions = {name.split()[0] for name in text}
    own = {name for name, keys in BRANCHES.items() if "enable_evmcs" in keys}
    assert {"vmx_vcpu_run", "hardware_enable", "vmx_exit"} <= functions & own


def test_the_site_that_is_asked_for_is_hidden():
    for seed in range(10):
        record = key.run(seed)
        first, on, again = record.picture.steps
        assert [first, again] == record.solved.steps[::2]
        for row, full in zip(on.rows, record.solved.steps[1].rows):
            asked = row[0].text == record.given["site"]
            assert row[2].text == ("?" if asked else full[2].text)
            assert [row[:2], row[3:]] == [full[:2], full[3:]]


def test_the_picture_has_the_three_states(text):
    for seed in range(10):
        first, on, again = key.run(seed).solved.steps
        for step, state in ((first, 0), (on, 1), (again, 0)):
            for site, code, assembly, _ in ([cell.text for cell in row] for row in step.rows):
                expected = text[site][state]
                assert bytes.fromhex(code) == expected[0]
                assert assembly == ("nop", f"jmp +{expected[2]:#x}")[state]
