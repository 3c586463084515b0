# SPDX-License-Identifier: GPL-2.0-only
"""The guest code of KVM's own selftests, unmodified, as L1 on this L0; moved at every stage."""

import pytest

from kvm_vmx.boot import elf, selftests
from kvm_vmx.boot.selftest import UCALL_PORT, Selftest

pytestmark = pytest.mark.long
VERSIONS = {"6.12": "tree-6.12", "6.1": "tree-6.1"}
# the enlightened one was renamed on the way
ONLY = {"hyperv_evmcs": "6.12", "evmcs_test": "6.1", "hyperv_features": "6.12"}
LONG = {"vmx_preemption_timer_test"}        # 100 million turns of a loop
RUNNING = [case for case in selftests.CASES if case.host]
STAGES = {"hyperv_evmcs": 11, "evmcs_test": 11, "state_test": 13, "vmx_tsc_adjust_test": 4,
          "hyperv_features": 64}


def runs():
    """(version, case) of every release that has the test."""
    for version, tree in VERSIONS.items():
        for case in RUNNING:
            if ONLY.get(case.name, version) == version:
                yield pytest.param(
                    version, case, marks=pytest.mark.host("compiler", tree),
                    id=f"{case.name}-{version}")


@pytest.mark.rule("R66", "R67", "R73", "R76", "R82", "K1", "K9")
@pytest.mark.case("EVM-04", "EVM-11", "EVM-13", "EVM-33")
@pytest.mark.parametrize("moves", [False, True], ids=["stays", "moves"])
@pytest.mark.parametrize("version, case", list(runs()))
def test_the_guest_code_says_that_it_is_done(built, soak, version, case, moves):
    if case.name in LONG and not soak:
        pytest.skip("100 million instructions: give --soak")
    test = Selftest(elf.parse(built(version, case.name).read_bytes()), case.profile,
                    case.lacks)
    case.host(test, moves)
    assert test.run(600) == ""
    stages = [note for note in test.notes if note.startswith("stage")]
    assert len(stages) >= STAGES.get(case.name, 0)
    if case.name in ("hyperv_evmcs", "evmcs_test"):
        assert [note for note in stages if "L2" in note] == [f"stage {n}, in L2" for n in (7, 8, 9)]


def test_what_is_written_to_the_port_of_ucalls_says_nothing():
    """Guest code calls its host by an IN; an OUT there is none, and no fault of the host's."""
    test = Selftest(elf.Executable(64, 0, (), {}))
    for size in (1, 2, 4):
        test.board.ports.access(UCALL_PORT, size, 7)
    assert test.said == test.notes == []


@pytest.mark.host("compiler", "tree-6.12")
def test_an_assertion_of_the_guest_is_told(built):
    """Without the NMI of stage 8 the guest code of hyperv_evmcs cannot hold."""
    case = selftests.find("hyperv_evmcs")
    test = Selftest(elf.parse(built("6.12", case.name).read_bytes()), case.profile)
    selftests.stages(test, False)
    test.start("guest_code", test.pages(6), test.pages(3), test.page())
    why = test.run(60)
    assert "EXIT_REASON_EXCEPTION_NMI at hyperv_evmcs.c:" in why


@pytest.mark.host("compiler", "tree-6.12")
def test_clean_fields_that_nobody_sets_are_seen(built):
    """The profile that leaves them alone fails where KVM's own test relies on KVM's marks."""
    case = selftests.find("hyperv_evmcs")
    test = Selftest(elf.parse(built("6.12", case.name).read_bytes()), "tlfs-strict")
    case.host(test, False)
    assert "hyperv_evmcs.c" in test.run(60)


def test_every_test_runs_or_says_why_not():
    assert all(bool(case.host) != bool(case.cannot) for case in selftests.CASES)
    assert len({case.name for case in selftests.CASES}) == len(selftests.CASES)
