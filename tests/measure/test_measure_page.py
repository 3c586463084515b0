# SPDX-License-Identifier: GPL-2.0-only
"""The page of the measurements in a browser: every picture inside the window, however narrow."""

import re
import subprocess

import pytest

from kvm_vmx import host
from kvm_vmx.measure import model
from kvm_vmx.measure.page import page
from kvm_vmx.measure.report import COUNTED, MEASURED, Report

POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
OUTER = """<iframe id="page" src="page.html" style="width:{width}px;height:900px;border:0"></iframe>
<script>
onload = () => {{
  const inside = document.getElementById("page").contentDocument;
  const width = inside.documentElement.clientWidth;
  const over = [...inside.querySelectorAll("body *")].filter(
    one => one.getBoundingClientRect().right > width + 1 && !one.closest("details"));
  const bars = inside.querySelectorAll(".bars i");
  document.title = `PROBE ${{bars.length}} ${{over.length}} ${{over.map(one => one.textContent)}}`;
}};
</script>"""


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


@pytest.mark.host("browser")
@pytest.mark.parametrize("width", [320, 400, 800, 1600])
def test_nothing_leaves_the_window(text, width, tmp_path):
    (tmp_path / "page.html").write_text(POLICY.sub("", text))
    (tmp_path / "outer.html").write_text(OUTER.format(width=width))
    run = subprocess.run(
        [host.find("browser"), "--headless", "--no-sandbox", "--disable-gpu",
         "--allow-file-access-from-files",
         f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
         (tmp_path / "outer.html").as_uri()], capture_output=True, text=True, timeout=120)
    found = re.search(r"<title>PROBE (\d+) (\d+) ([^<]*)</title>", run.stdout)
    assert found, run.stderr[-2000:]
    assert int(found[1]) > 20
    assert found[2] == "0", found[3]
