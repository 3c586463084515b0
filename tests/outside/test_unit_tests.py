# SPDX-License-Identifier: GPL-2.0-only
"""vmx.flat of kvm-unit-tests, unmodified: every test ends as tests/outside/unit_tests.json says."""

import importlib.util
import json
import pathlib

import pytest

from kvm_vmx.boot import unit_tests

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
RECORD = json.loads((HERE / "unit_tests.json").read_text("utf-8"))
# a short one of each kind for the plain run: less than a second each
SHORT = ("test_vmxon", "test_vmptrld", "vmenter", "CR_shadowing", "MSR_switch", "nmi_hlt",
         "vmx_nmi_window_test", "vmx_mtf_test", "vmx_pae_test", "vmx_init_signal_test")


@pytest.mark.parametrize("name", list(RECORD["tests"]))
def test_a_unit_test_ends_as_recorded(vmx_image, soak, name):
    if not soak and name not in SHORT:
        pytest.skip("give --soak for all of them")
    recorded = RECORD["tests"][name]
    if recorded["result"] == "unfinished":
        pytest.skip(recorded["reason"])
    found = unit_tests.run(vmx_image, name, 1800, RECORD["profile"], recorded.get("cpus", 1))
    assert (found.result, found.failed) == (recorded["result"], recorded["failed"]), found.text
    assert found.checks >= recorded["checks"]


# of the other images, less than a second each
QUICK = ("idt_test", "umip", "tsc", "ioapic", "hyperv_synic")


@pytest.mark.parametrize("name", list(RECORD["others"]))
def test_another_image_ends_as_recorded(unit_test_images, soak, name):
    if not soak and name not in QUICK:
        pytest.skip("give --soak for all of them")
    recorded = RECORD["others"][name]
    if recorded["result"] == "unfinished":
        pytest.skip(recorded["reason"])
    file, _, append = name.partition(" ")
    image = unit_test_images / f"{file}.flat"
    if not image.is_file():
        pytest.skip(f"the checkout has not built {image.name}")
    found = unit_tests.run_image(image.read_bytes(), image.name, append, 1800, recorded["profile"],
                                 recorded["cpus"], recorded.get("test_device", True))
    assert (found.result, found.failed) == (recorded["result"], recorded["failed"]), found.text
    assert found.checks >= recorded["checks"]


def test_whatever_does_not_pass_has_its_reason():
    for name, test in (*RECORD["tests"].items(), *RECORD["others"].items()):
        assert test["result"] in ("pass", "fail", "skip", "unfinished")
        assert bool(test.get("reason")) == (test["result"] != "pass"), name
    assert set(SHORT) <= set(RECORD["tests"])


def test_the_page_is_what_is_printed_of_the_record():
    spec = importlib.util.spec_from_file_location("outside", ROOT / "dev/outside.py")
    outside = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(outside)
    assert (ROOT / "docs/outside.md").read_text("utf-8") == outside.page(), \
        "run python dev/outside.py"
