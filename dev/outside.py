# SPDX-License-Identifier: GPL-2.0-only
"""Runs the suites of KVM's developers and records what they say; prints docs/outside.md.

    python dev/outside.py                            the page, from what is recorded
    python dev/outside.py --image x86/vmx.flat       run all of vmx.flat anew, and record it
    python dev/outside.py --image x86/vmx.flat TEST  these tests alone
    python dev/outside.py --others x86               all other images of a built checkout
"""

import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECORD = ROOT / "tests/outside/unit_tests.json"
PAGE = ROOT / "docs/outside.md"
SECONDS, SECONDS_OF_OTHERS = 600, 120

HEAD = """\
<!-- SPDX-License-Identifier: GPL-2.0-only -->
# Other people's suites on this L0

What KVM's own developers test an L0 with, unmodified, as L1: its code runs on L0's own processor
(`kvm-vmx boot`), its VMX instructions go to L0, and an exit loads its host state. Nothing of the
suites is in this tree. This page is printed by `python dev/outside.py` from
tests/outside/unit_tests.json and the table of kvm_vmx/boot/selftests.py.

## The board

Time is counted in instructions, so that every run is the same: the TSC, the timers and the
reference time go by them, and HLT jumps to the next event. With `--clock host`, or
`Machine.boot(file, clock="host")`, all of them go by the host's time, and HLT sleeps.

What L1, or L2 where L1 lets it, does at ports and at addresses that are no memory goes to devices
of Python: `Machine.boot(file, ports={0x300: device}, mmio={(0xC0000000, 4096): device})`, where
`device.read(offset, size)` answers and `device.write(offset, size, value)` takes. An instruction
that reads stands still until it is answered, and begins anew: each device sees each access once,
of 1, 2, 4 or 8 bytes, and the board can be saved meanwhile. Code is not fetched from a device, and
while an event is delivered none is asked. An L2 whose L1 is Python, by `Processor.vmlaunch()`, has
them by `kvm_vmx.machine.device_bus.Bus`; KVM as L1 intercepts every port, and what it does not map
is its own to answer.
"""


def selftests_table() -> list[str]:
    """The selftests, which run and which do not."""
    from kvm_vmx.boot.selftests import CASES

    rows = ["", "## KVM selftests", "",
            "The guest code of each, built from linux-source-6.12 and linux-source-6.1 with the "
            "suite's flags and `-mgeneral-regs-only`; what the suite's host part does is in "
            "kvm_vmx/boot/selftests.py. Where a test has stages, it also runs with the machine "
            "saved at each and restored into a new one: `tests/outside/test_selftests.py`.", "",
            "| test | profile | |", "|---|---|---|"]
    for case in CASES:
        profile = case.profile + (", without XSAVE" if case.lacks else "")
        rows.append(f"| {case.name} | {profile} | {told(case)} |")
    return rows


def told(case) -> str:
    """How a selftest fares."""
    if not case.host:
        return "does not run: " + case.cannot
    return "passes" + (": " + case.note if case.note else "")


def unit_tests_table(record: dict) -> list[str]:
    """vmx.flat's tests, each with its result and the reason where it does not pass."""
    tests = record["tests"]
    counts = {kind: sum(test["result"] == kind for test in tests.values())
              for kind in ("pass", "skip", "fail", "unfinished")}
    rows = ["", "## kvm-unit-tests, x86/vmx.flat", "",
            f"Commit {record['commit']}, profile {record['profile']}, a processor, or two "
            f"where the test asks for them. Of {len(tests)} tests {counts['pass']} pass, "
            f"{counts['skip']} are skipped by the suite, {counts['fail']} fail, "
            f"{counts['unfinished']} do not come to their end.", "",
            "Run again where `KVM_UNIT_TESTS` names the image or a built checkout: "
            "`tests/outside/test_unit_tests.py`.", "",
            "| test | result | checks | failed | reason |", "|---|---|---:|---:|---|"]
    for name, test in tests.items():
        rows.append(f"| {name} | {test['result']} | {test['checks']} | {test['failed']} | "
                    f"{test.get('reason', '')} |")
    return rows


def others_table(record: dict) -> list[str]:
    """Other images of the suite."""
    rows = ["", "## kvm-unit-tests, other images", "",
            "Each on the profile and the processors that it asks for; run again, with `--soak`, "
            "where the checkout that `KVM_UNIT_TESTS` names has built it.", "",
            "| image | profile | processors | result | checks | failed | reason |",
            "|---|---|---:|---|---:|---:|---|"]
    for name, row in record["others"].items():
        rows.append(f"| {name} | {row['profile']} | {row['cpus']} | {row['result']} | "
                    f"{row['checks']} | {row['failed']} | {row.get('reason', '')} |")
    return rows


def page() -> str:
    """The whole page."""
    record = json.loads(RECORD.read_text("utf-8"))
    return HEAD + "\n".join([*selftests_table(), *unit_tests_table(record),
                             *others_table(record)]) + "\n"


def renew(path: str, chosen: list[str], record: dict) -> None:
    """Run tests of an image and record what it says; a reason stays with a test that has one."""
    from kvm_vmx.boot import unit_tests

    data = pathlib.Path(path).read_bytes()
    for name in chosen or unit_tests.names(
            unit_tests.run(data, "no_such_test", SECONDS, record["profile"]).text):
        before = record["tests"].get(name, {})
        cpus = before.get("cpus", 1)
        found = unit_tests.run(data, name, SECONDS, record["profile"], cpus)
        test = {"result": found.result, "checks": found.checks, "failed": found.failed}
        if cpus > 1:
            test["cpus"] = cpus
        if found.result != "pass":
            test["reason"] = before.get("reason", found.why)
        record["tests"][name] = test
        print(f"{name}: {found.result} {found.checks} {found.failed} {found.why}",
              file=sys.stderr, flush=True)
        RECORD.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


def renew_others(directory: str, chosen: list[str], record: dict) -> None:
    """Run the other images and record what they say."""
    from kvm_vmx.boot import unit_tests

    for name, row in record["others"].items():
        file, _, append = name.partition(" ")
        path = pathlib.Path(directory) / f"{file}.flat"
        if not path.is_file() or (chosen and name not in chosen):
            continue
        found = unit_tests.run_image(path.read_bytes(), path.name, append, SECONDS_OF_OTHERS,
                                     row["profile"], row["cpus"], row.get("test_device", True))
        row |= {"result": found.result, "checks": found.checks, "failed": found.failed}
        if found.result == "pass":
            row.pop("reason", None)
        else:
            row.setdefault("reason", found.why)
        print(f"{name}: {found.result} {found.checks} {found.failed} {found.why}",
              file=sys.stderr, flush=True)
        RECORD.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--image")
    parser.add_argument("--others")
    parser.add_argument("tests", nargs="*")
    args = parser.parse_args()
    if args.image:
        renew(args.image, args.tests, json.loads(RECORD.read_text("utf-8")))
    if args.others:
        renew_others(args.others, args.tests, json.loads(RECORD.read_text("utf-8")))
    PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
