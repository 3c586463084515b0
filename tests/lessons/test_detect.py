# SPDX-License-Identifier: GPL-2.0-only
"""The lesson `detect`: its answers by the conditions of v4.19, from what CPUID says."""

import pytest

from kvm_vmx.lessons import detect

HYPERV_CPUID_MIN, HYPERV_CPUID_MAX, KVM_EVMCS_VERSION = 0x40000005, 0x4000FFFF, 1
# What each case takes away: the row of the ladder, counted from 0.
TAKEN = {"none": None, "hypervisor": 0, "signature": 1, "leaves": 2, "registers": 3,
         "parameter": 4, "hint": 5, "version": 6, "page": 7}


def walked(given):
    """Each rung's state, in the order of the rows: may KVM go on?"""
    hypervisor, name, top, msrs, parameter, hint, version, pages = (
        row["found"] for row in given["rungs"])
    pages = pages.split()[1::2]
    assert len(pages) == given["cpus"] and set(pages) <= {"yes", "no"}
    assert parameter == str(int(given["parameter"]))
    return [hypervisor == "1", name == "Microsoft Hv",
            HYPERV_CPUID_MIN <= int(top, 16) <= HYPERV_CPUID_MAX, msrs == "11",
            given["parameter"], hint == "1", int(version) >= KVM_EVMCS_VERSION,
            "no" not in pages]


def expected(given):
    """The answer: ms_hyperv_platform(), hyperv_init() and vmx_init(), one behind the other."""
    there = walked(given)
    hypervisor, name, top, msrs, parameter, hint, version, pages = there
    platform = hypervisor and name and top
    # hv_cpu_init() has not run on any CPU where the boot did not come to it
    assert platform and msrs or not pages
    # elsewhere ms_hyperv stays zero: no hints, and no nested features
    recommended = platform and hint
    nested = recommended and version
    on = bool(parameter and recommended and nested and pages)
    # the fallback is silent: vmx_init() succeeds, and takes the parameter back
    return {"rung": 0 if on else there.index(False) + 1, "second": of_second(given["second"]),
            "enable_evmcs": on, "insmod": 0, "parameter": on}


def of_second(found):
    """The rung of the second L1, by what its ladder reads."""
    parameter, pages = found[4], found[7].split()[1::2]
    there = walked({"rungs": [{"found": one} for one in found], "cpus": len(pages),
                    "parameter": parameter == "1"})
    return there.index(False) + 1 if False in there else 0


@pytest.mark.soak
def test_the_answers_follow_the_ladder(soak):
    cases = set()
    for seed in range(1000 if soak else 100):
        record = detect.run(seed)
        assert record.values == expected(record.given), seed
        cases.add(record.case)
    assert cases == set(detect.CASES) == set(TAKEN)


@pytest.mark.parametrize("case", detect.CASES)
def test_a_case_takes_its_rung_away(case):
    """The first rung that is missing is the case's; each behind it is there, but for the pages."""
    for seed in range(5):
        record = detect.run(seed, case)
        there, taken = walked(record.given), TAKEN[case]
        missing = [n for n, good in enumerate(there) if not good]
        without_pages = {7} if taken is not None and taken < 4 else set()
        assert set(missing) == without_pages | ({taken} - {None})
        assert record.values["enable_evmcs"] == (case == "none")
        mode = "eVMCS" if case == "none" else "plain VMCS"
        assert f"the guest ran on a {mode} and ended with HLT" in record.answer[1]


@pytest.mark.parametrize("case", detect.CASES)
def test_the_picture_says_where_kvm_goes_on(case):
    record = detect.run(3, case)
    *rungs, key = record.solved.steps[-1].rows
    there = walked(record.given)
    assert [row[1].text for row in rungs] == [row["found"] for row in record.given["rungs"]]
    assert [row[2].text for row in rungs] == ["yes" if good else "no" for good in there]
    # lit up to the first rung that is missing
    reached = there.index(False) + 1 if False in there else len(there)
    assert [row[1].kind in ("good", "bad") for row in rungs] == [
        n < reached for n in range(len(there))]
    assert key[1].text == ("on" if case == "none" else "off")
    # and without the answer what is found alone, nothing lit, dark or told of it
    for dark, lit in zip(record.picture.steps, record.solved.steps):
        assert dark.caption == lit.caption
        assert [[cell.text for cell in row[:2]] for row in dark.rows[:-1]] == [
            [cell.text for cell in row[:2]] for row in lit.rows[:-1]]
        assert {row[2].text for row in dark.rows[:-1]} == {"?"} == {dark.rows[-1][1].text}
        assert {cell.kind for row in dark.rows for cell in row} <= {"", "dim", "hot"}
        assert not any(cell.kind == "dim" and cell.text != "?" for row in dark.rows for cell in row)
