# SPDX-License-Identifier: GPL-2.0-only
"""examples/*.ipynb: each runs from its first cell to its last, and reads on its own."""

import json
import pathlib
import re

import needed
import pytest
from command import PACKAGE

from kvm_vmx import host

pytestmark = pytest.mark.long
EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def said(notebook):
    """What its cells print and show, as text."""
    return "\n".join(
        output.get("text") or output["data"].get("text/plain", "")
        for cell in notebook["cells"] for output in cell.get("outputs", ()))


@pytest.fixture(scope="session")
def executed():
    """{name: the notebook as it was executed}; the site takes them from there, too."""
    needed.capability("nbclient", "ipykernel")
    import site_notebooks

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(PACKAGE))
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
        return site_notebooks.executed()


def test_they_are_kept_without_what_they_print():
    assert [path.stem for path in NOTEBOOKS] == ["diagnose", "exit", "measure"]
    for path in NOTEBOOKS:
        notebook = json.loads(path.read_text())
        assert (notebook["nbformat"], notebook["metadata"]["license"]) == (4, "GPL-2.0-only")
        assert all(not cell.get("outputs") and cell.get("execution_count") is None
                   for cell in notebook["cells"])
        assert notebook["cells"][0]["cell_type"] == "markdown"
        # it reads on its own: no code without a word before it, in any three cells
        kinds = "".join(cell["cell_type"][0] for cell in notebook["cells"])
        assert "ccc" not in kinds and len(kinds) > 8


@pytest.mark.needs("hyperv")
def test_the_exit(executed):
    text = said(executed["exit"])
    assert "instructions that L0 saw: 0\nclean fields 0xffff, then 0xfffb" in text
    assert re.search(r"vmx_set_msr e9( \w\w){4} jmp", text)
    assert ("0 unexplained" if host.has("tree-4.19") else host.absent("tree-4.19")) in text
    pages = [output["data"]["text/html"] for cell in executed["exit"]["cells"]
             for output in cell.get("outputs", ()) if "text/html" in output.get("data", {})]
    assert len(pages) == 4 and "eVMCS at" in pages[2] and "vmresume" in pages[3]
    assert "vmread" not in pages[3]


@pytest.mark.needs("hyperv")
def test_what_it_saves(executed):
    text = said(executed["measure"])
    assert re.search(r"^vmread +7\.00 +0\.00$", text, re.M)
    assert re.search(r"^vmwrite +1\.00 +0\.00$", text, re.M)
    assert re.search(r"^groups_reread +16\.00 +0\.00$", text, re.M)
    assert "modelled 1323 cycles an access" in text and "measured here, ns" in text


@pytest.mark.needs("hyperv")
def test_why_it_is_refused(executed):
    text = said(executed["diagnose"])
    assert text.startswith("()") and "GUEST_RFLAGS is 0x0: bit 1 must be 1" in text
    assert "R39: a field was changed while its group's clean bit stayed set: HOST_CR4" in text
    assert "FAIL_ENTRY\nguest entry refused: HOST_CR4 is 0x0" in text
