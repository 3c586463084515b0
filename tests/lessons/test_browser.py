# SPDX-License-Identifier: GPL-2.0-only
"""The course in a real browser where there is one: keys, slider, sizes, colours, paper."""

import shutil
import subprocess

import pytest
from browser import Browser, program
from command import kvm_vmx

from kvm_vmx.lessons import NAMES, load

PAGES = ("index", *NAMES)
# The least contrast of text that may be read (WCAG 2.1, level AA).
CONTRAST = 4.5
FAINTEST = """
(() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const over = (colours) => {
    canvas.clearRect(0, 0, 1, 1);
    for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const light = (rgb) => rgb.map((one) => one / 255)
    .map((one) => one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, n) => sum + one * [0.2126, 0.7152, 0.0722][n], 0);
  const below = (element) => {
    const found = [];
    for (; element; element = element.parentElement) {
      found.unshift(getComputedStyle(element).backgroundColor);
    }
    return ["white", ...found];
  };
  let faintest = [99, ""];
  for (const element of document.body.querySelectorAll("*")) {
    const text = [...element.childNodes].filter((node) => node.nodeType === 3)
      .map((node) => node.data).join("").trim();
    if (!text || element.closest(":disabled, script") || !element.getClientRects().length) continue;
    const style = getComputedStyle(element), svg = element.closest("svg");
    const behind = below(svg || element);
    const a = light(over(behind)) + 0.05;
    const b = light(over([...behind, svg ? style.fill : style.color])) + 0.05;
    const ratio = Math.max(a, b) / Math.min(a, b);
    if (ratio < faintest[0]) faintest = [ratio, `${element.outerHTML.slice(0, 120)}`];
  }
  return faintest;
})()
"""
# What sticks out of the window, and of its own box.
OUTSIDE = """
[document.scrollingElement.scrollWidth - document.documentElement.clientWidth,
 ...[...document.querySelectorAll("main *")]
   .filter((element) => !element.closest("svg") && element.getClientRects().length
           && element.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
   .map((element) => element.outerHTML.slice(0, 120))]
"""
STATE = """
({step: Number(slider.value), count: document.getElementById("count").textContent,
  caption: document.getElementById("caption").textContent,
  rows: [...state.rows].map((row) => [...row.cells].map((cell) => cell.textContent)),
  moving: [...document.querySelectorAll("figure svg .moving")].map((one) => one.innerHTML)})
"""


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """The pages, with the answers."""
    if program() is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    path = tmp_path_factory.mktemp("course")
    done = kvm_vmx("lesson", "all", "--html", path, "-c")
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def handout(course, tmp_path_factory):
    """The same pages for students, and each lesson's record."""
    path = tmp_path_factory.mktemp("handout")
    done = kvm_vmx("lesson", "all", "--html", path)
    assert done.returncode == 0, done.stderr
    return path, {name: load(name).run(1) for name in NAMES}


@pytest.fixture(scope="module")
def browser(course, tmp_path_factory):
    """One browser for all tests."""
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def shown(browser, course):
    """shown(page): it is loaded; nothing but the page itself was fetched, nothing complained."""
    opened = []

    def show(name, width=1600, scheme="light"):
        browser.size(width)
        browser.media(scheme)
        browser.open(course / f"{name}.html")
        opened.append((course / f"{name}.html").as_uri())
        return browser

    yield show
    assert browser.evaluate("performance.getEntriesByType('resource').length") == 0
    assert browser.requests == opened[-1:] and browser.errors == []


def expected(browser):
    """The steps as the page's data has them: caption, and the rows' texts."""
    return browser.evaluate(
        "run.steps.map((step) => [step.caption, step.rows.map((row) => row.map(([t]) => t))])")


@pytest.mark.parametrize("name", NAMES)
def test_keys_slider_and_buttons_move_the_picture(shown, name):
    browser = shown(name)
    steps = expected(browser)
    last = len(steps) - 1
    seen = {}

    def check(step):
        state = browser.evaluate(STATE)
        assert state["step"] == step and state["count"] == f"{step + 1} of {last + 1}"
        assert [state["caption"], state["rows"]] == steps[step]
        assert seen.setdefault(step, state["moving"]) == state["moving"]

    check(0)
    browser.press("ArrowLeft")
    check(0)
    for step in range(1, last + 1):
        browser.press("ArrowRight")
        check(step)
    browser.press("ArrowRight")
    check(last)
    browser.press("Home")
    check(0)
    browser.press("End")
    check(last)
    browser.press("ArrowLeft")
    check(last - 1)
    assert len({str(moving) for moving in seen.values()}) == len(steps)

    browser.evaluate("slider.focus()")       # the slider's own keys, once each
    browser.press("Home")
    check(0)
    browser.press("ArrowRight")
    check(1)
    browser.evaluate(f"slider.value = {last}; slider.dispatchEvent(new Event('input'))")
    check(last)
    for button, step in (("first", 0), ("next", 1), ("back", 0), ("last", last)):
        browser.evaluate(f"document.getElementById('{button}').click()")
        check(step)
    browser.evaluate("document.querySelector('.hit[data-step=\"1\"]')"
                     ".dispatchEvent(new MouseEvent('click', {bubbles: true}))")
    check(1)


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [400, 1600])
def test_nothing_overflows(shown, name, width):
    browser = shown(name, width)
    browser.evaluate("document.querySelectorAll('details').forEach((fold) => fold.open = true)")
    for key in ("Home", "End"):
        browser.press(key)
        assert browser.evaluate("innerWidth") == width
        assert browser.evaluate(OUTSIDE) == [0]


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(shown, name, scheme):
    browser = shown(name, 1600, scheme)
    paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    browser.evaluate("document.querySelectorAll('details').forEach((fold) => fold.open = true)")
    for key in ("Home", "ArrowRight", "End"):
        browser.press(key)
        ratio, where = browser.evaluate(FAINTEST)
        assert ratio >= CONTRAST, where


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_is_folded_until_it_is_asked_for(shown, name):
    browser = shown(name)
    visible = "document.querySelector('#answer details p').checkVisibility()"
    assert not browser.evaluate(visible)
    wait = "new Promise((done) => setTimeout(done, 50))"     # a fold tells of itself later
    browser.evaluate("document.querySelector('summary').click()")
    browser.evaluate(wait)
    browser.press("End")
    assert browser.evaluate(visible)
    runs = browser.evaluate("data.runs.map((run) => run.steps.at(-1).rows"
                            ".map((row) => row.map(([text]) => text)))")
    assert browser.evaluate(STATE)["rows"] == runs[-1]
    browser.evaluate("document.querySelector('summary').click()")
    browser.evaluate(wait)
    assert browser.evaluate(STATE)["rows"] == runs[0]


# The cells of the table of all steps, row by row, if a reader sees them.
STEPS = """
[...document.querySelectorAll("main > section:not(#answer) .steps tr")]
  .filter((row) => row.checkVisibility()).map((row) => [...row.cells].map((one) => one.textContent))
"""
SEEN = "document.body.innerText"


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


@pytest.mark.parametrize("name", NAMES)
def test_a_handout_has_every_step_but_not_the_answer(browser, handout, name, tmp_path):
    """On paper, with a script or without, and on a screen without one; from its source as well."""
    path, records = handout
    wanted, page = stepwise(records[name].picture), path / f"{name}.html"

    def look(medium):
        browser.media("light", medium)
        assert browser.evaluate(STEPS) == wanted
        text = browser.evaluate(SEEN)
        assert " ".join(records[name].question.split()) in " ".join(text.split())

    browser.size(1000)
    for medium in ("", "print"):
        without_script(browser, page, lambda: look(medium))
    browser.open(page)
    browser.media("light", "")
    assert browser.evaluate(STEPS) == []        # the slider has them
    browser.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    look("print")
    solved = records[name].solved
    assert solved is None or wanted != stepwise(solved)
    assert browser.evaluate("document.querySelector('#state').checkVisibility()") is False


def printed(pdf, folder):
    """The text of a PDF, where pdftotext is installed; None elsewhere."""
    if shutil.which("pdftotext") is None:
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


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [1000, 1600])
def test_no_column_moves_under_the_slider(shown, name, width):
    """Nor when the answer is opened: each column begins where it did, at every step."""
    browser = shown(name, width)
    places = ("[...document.querySelectorAll('#state thead th')]"
              ".map((cell) => Math.round(cell.getBoundingClientRect().left))")
    inside = ("[...document.querySelectorAll('#state td, #state th')].filter((cell) => "
              "cell.scrollWidth > cell.clientWidth + 1).map((cell) => cell.outerHTML)")

    def walk():
        last = browser.evaluate("last")
        browser.press("Home")
        for _ in range(last + 1):
            yield browser.evaluate(places)
            assert browser.evaluate(inside) == []
            browser.press("ArrowRight")

    seen = {str(found) for found in walk()}
    browser.evaluate("document.querySelector('summary').click()")
    browser.evaluate("new Promise((done) => setTimeout(done, 50))")
    seen |= {str(found) for found in walk()}
    assert len(seen) == 1


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


@pytest.mark.parametrize("name", NAMES)
def test_without_a_script_the_last_step_that_is_told_stands(browser, course, name):
    browser.media()
    seen = "[...document.querySelectorAll('#state tbody tr')].map((row) => " \
           "[...row.cells].map((cell) => cell.textContent))"

    def look():
        assert browser.evaluate("document.querySelector('.player').offsetParent") is None
        return browser.evaluate(seen)

    without = without_script(browser, course / f"{name}.html", look)
    browser.open(course / f"{name}.html")
    browser.evaluate("show(told())")
    assert browser.evaluate(seen) == without
