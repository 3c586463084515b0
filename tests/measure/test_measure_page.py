# SPDX-License-Identifier: GPL-2.0-only
"""The page of the measurements in a browser: every picture inside the window, however narrow."""

import needed
import pytest
from browser import Browser

from kvm_vmx.measure import model
from kvm_vmx.measure.page import page
from kvm_vmx.measure.report import COUNTED, MEASURED, Report

# How many bars there are, and what leaves the window.
OVER = """
[document.querySelectorAll(".bars i").length,
 ...[...document.querySelectorAll("body *")].filter((one) => !one.closest("details")
   && one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
   .map((one) => one.textContent)]
"""


@pytest.fixture(scope="module")
def text():
    """A page with every kind of picture, and names and figures as long as they come."""
    report = Report(machine={"cpu_model_name": "a processor " * 9})
    for name, value in (("store", 0.7), ("write64", 1.9), ("clear_bits", 1234.56)):
        report.add("an access under eVMCS", name, value, "cycles", MEASURED, low=value * .9,
                   high=value * 1.1)
    for n in range(16):
        report.add("instructions an entry by number of dirty groups", f"first {n + 1}",
                   700 + 90 * n,
                   "instructions", COUNTED)
        report.add("instructions an entry by dirty group", "ENLIGHTENMENTSCONTROL", 1709 + n,
                   "instructions", COUNTED)
    model.run(report)
    return page(report)


@pytest.fixture(scope="module")
def shown(text, tmp_path_factory):
    """The page in a browser."""
    needed.capability("browser")
    folder = tmp_path_factory.mktemp("measure")
    (folder / "page.html").write_text(text)
    browser = Browser(folder / "profile")
    browser.media()
    yield browser, folder / "page.html"
    browser.close()


@pytest.mark.parametrize("width", [320, 400, 800, 1600])
def test_nothing_leaves_the_window(shown, width):
    browser, path = shown
    browser.size(width)
    browser.open(path)
    bars, *over = browser.evaluate(OVER)
    assert bars > 20 and over == [] and browser.evaluate("innerWidth") == width
