# SPDX-License-Identifier: GPL-2.0-only
"""The course on paper and without a script: every step that a question needs, in a real browser."""

import subprocess

import pytest

from kvm_vmx.lessons import NAMES
from kvm_vmx import host

# The cells of the table of all steps, row by row, if a reader sees them.
STEPS = """
[...document.querySelectorAll("main > section:not(#answer) .steps tr")]
  .filter((row) => row.checkVisibility()).map((row) => [...row.cells].map((one) => one.textContent))
"""
SEEN = "document.body.innerText"
# The state that stands there, row by row.
STANDS = """
[...document.querySelectorAll("#state tbody tr")]
  .map((row) => [...row.cells].map((cell) => cell.textContent))
"""


def stepwise(picture):
    """What the terminal has, row by row."""
    titles, rows = picture.timeline()
    return [list(titles), *([cell.text for cell in row] for row in rows)]


def without_script(browser, path, look):
    """Look at a page where no script runs."""
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(path)
        return look()
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_a_handout_has_every_step_but_not_the_answer(browser, handout, name, soak):
    """On paper, with a script or without, and on a screen without one: every second, and with a
    script, which is the same on all, every fourth; all in a soak."""
    if not soak and NAMES.index(name) % 2:
        pytest.skip("as the others: --soak")
    path, records = handout
    wanted, page = stepwise(records[name].picture), path / f"{name}.html"

    def look(*media):
        for medium in media:
            browser.media("light", medium)
            assert browser.evaluate(STEPS) == wanted
            text = browser.evaluate(SEEN)
            assert " ".join(records[name].question.split()) in " ".join(text.split())
        return browser.evaluate(STANDS)

    browser.size(1000)
    stands = without_script(browser, page, lambda: look("print", ""))
    solved = records[name].solved
    assert solved is None or wanted != stepwise(solved)
    if not soak and NAMES.index(name) % 4 != 2:
        return
    browser.open(page)
    browser.media("light", "")
    assert browser.evaluate(STEPS) == []        # the slider has them
    browser.evaluate("show(told())")
    assert browser.evaluate(STANDS) == stands   # the last step that is told
    browser.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    look("print")
    assert browser.evaluate("document.querySelector('#state').checkVisibility()") is False


def printed(pdf, folder):
    """The text of a PDF, where pdftotext is installed; None elsewhere."""
    if not host.has("pdftotext"):
        return None
    (folder / "page.pdf").write_bytes(pdf)
    return subprocess.run(["pdftotext", "-layout", str(folder / "page.pdf"), "-"], check=True,
                          capture_output=True, text=True).stdout


@pytest.mark.parametrize("name", ["clean", "stale"])
def test_the_print_itself(browser, handout, name, tmp_path):
    """As a PDF: the writes of every round are on paper, and longer than a page if need be."""
    path, records = handout
    browser.media("light", "")
    browser.size(1000)
    browser.open(path / f"{name}.html")
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF-")
    text = printed(pdf, tmp_path)
    if text is not None:
        captions = [row[0] for row in stepwise(records[name].picture)[1:] if row[0]]
        assert not [caption for caption in captions if caption.strip() not in text]


def test_on_paper(shown):
    """The pictures as far as they are told, without what only a screen can do."""
    browser = shown(NAMES[0])
    told = int(browser.evaluate("slider.dataset.told"))
    browser.media("dark", "print")
    assert browser.evaluate("getComputedStyle(document.querySelector('.player')).display") == "none"
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") in (
        "rgb(255, 255, 255)", "rgba(0, 0, 0, 0)")
    browser.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.evaluate("here()") == told
    browser.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert browser.evaluate("here()") == 0
    assert browser.pdf().startswith(b"%PDF-")


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_without_a_script_the_last_step_that_is_told_stands(browser, course, soak, name):
    """Of pages with their answers every fourth, and all in a soak: handouts are looked at above."""
    if not soak and NAMES.index(name) % 4:
        pytest.skip("as the handouts: --soak")
    browser.media()

    def look():
        assert browser.evaluate("document.querySelector('.player').offsetParent") is None
        return browser.evaluate(STANDS)

    without = without_script(browser, course / f"{name}.html", look)
    browser.open(course / f"{name}.html")
    browser.evaluate("show(told())")
    assert browser.evaluate(STANDS) == without
