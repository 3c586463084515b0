# SPDX-License-Identifier: GPL-2.0-only
"""The course in a real browser where there is one: keys, slider, sizes, colours."""

import functools
import json

import pytest
from contrast import CONTRAST, FAINTEST

from kvm_vmx.lessons import NAMES, load
from kvm_vmx.lessons.page import lesson_page

pytestmark = [pytest.mark.host("browser"), pytest.mark.long]
PAGES = (*NAMES, "index")
# On these the keyboard's keys are pressed, each time.
PRESSED = NAMES[::7]
# What sticks out of the window, and of its own box.
OUTSIDE = """
[document.scrollingElement.scrollWidth - document.documentElement.clientWidth,
 ...[...document.querySelectorAll("main *")]
   .filter((element) => !element.closest("svg") && element.getClientRects().length
           && element.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
   .map((element) => element.outerHTML.slice(0, 120))]
"""
# Open the answer, or close it; the fold tells of itself later.
TURN = """
new Promise((done) => {
  const summary = document.querySelector("summary");
  summary.parentElement.addEventListener("toggle", done, {once: true});
  summary.click();
}).then(() => true)
"""
# The step that is shown; a picture is a number, each time the same.
STATE = """
({step: Number(slider.value), count: document.getElementById("count").textContent,
  caption: document.getElementById("caption").textContent,
  rows: [...state.rows].map((row) => [...row.cells].map((cell) => cell.textContent)),
  moving: ((picture, known = window.known ||= []) =>
    known.includes(picture) ? known.indexOf(picture) : known.push(picture) - 1)(
      [...document.querySelectorAll("figure svg .moving")].map((one) => one.innerHTML).join())})
"""


# All tests of a page follow one another, and one load serves those of one width.
of_each = functools.partial(pytest.mark.parametrize, "name", scope="module")
# The layout is the same from 1000 pixels on: a soak looks at more widths.
WIDTHS = (1600, 400), (1600, 400, 1000, 1280)


def pytest_generate_tests(metafunc):
    """A test of a width has them all in a soak."""
    if "width" in metafunc.fixturenames:
        soak = metafunc.config.getoption("--soak")
        metafunc.parametrize("width", WIDTHS[soak], scope="module")


def for_a_soak(soak, name, width):
    """A wide window has room: without a soak every third page is looked at there, and all in a
    narrow one."""
    if not soak and width == WIDTHS[0][0] and PAGES.index(name) % 3:
        pytest.skip("there is more room: --soak")


def expected(browser):
    """The steps as the page's data has them: caption, and the rows' texts."""
    return browser.evaluate(
        "run.steps.map((step) => [step.caption, step.rows.map((row) => row.map(([t]) => t))])")


# What is seen after each of these: keys that the page's own listener gets, and anything else that
# a reader does, as JavaScript.
SEEN = """
(%s).map((one) => {
  if (one.includes("(") || one.includes("=")) new Function(one)();
  else document.dispatchEvent(new KeyboardEvent("keydown", {key: one, bubbles: true}));
  return %s;
})
"""
# What moves the picture without a key, and which step that leads to, of the last.
BY_HAND = (
    ("slider.value = {last}; slider.dispatchEvent(new Event('input'))", -1),
    *((f"document.getElementById('{button}').click()", step)
      for button, step in (("first", 0), ("next", 1), ("back", 0), ("last", -1))),
    ("document.querySelector('.hit[data-step=\"1\"]')"
     ".dispatchEvent(new MouseEvent('click', {{bubbles: true}}))", 1))


@pytest.mark.soak
@of_each(NAMES)
def test_keys_slider_and_buttons_move_the_picture(shown, soak, name):
    """Those of the keyboard are no others: they are pressed on each page in a soak."""
    browser = shown(name)
    steps = expected(browser)
    last = len(steps) - 1
    seen = {}

    def check(step, state):
        assert state["step"] == step and state["count"] == f"{step + 1} of {last + 1}"
        assert [state["caption"], state["rows"]] == steps[step]
        assert seen.setdefault(step, state["moving"]) == state["moving"]

    check(0, browser.evaluate(STATE))
    wanted = [("ArrowLeft", 0), *(("ArrowRight", min(n, last)) for n in range(1, last + 2)),
              *(("ArrowLeft", max(n, 0)) for n in range(last - 1, -2, -1)),
              ("End", last), ("ArrowRight", last), ("Home", 0), ("End", last),
              ("ArrowLeft", last - 1),
              *((how.format(last=last), step if step >= 0 else last) for how, step in BY_HAND)]
    found = browser.evaluate(SEEN % (json.dumps([how for how, _ in wanted]), STATE.strip()))
    for (_, step), state in zip(wanted, found, strict=True):
        check(step, state)
    assert len(set(seen.values())) == len(steps)

    if not soak and name not in PRESSED:
        return
    for focus in ("document.activeElement.blur()", "slider.focus()"):    # the slider has its own
        browser.evaluate(focus)
        for key, step in (("Home", 0), ("ArrowLeft", 0), ("ArrowRight", 1),
                          ("ArrowRight", min(2, last)), ("End", last), ("ArrowRight", last),
                          ("ArrowLeft", last - 1)):
            browser.press(key)
            check(step, browser.evaluate(STATE))


# At its first step, its second and its last.
STEPWISE = """
[window.slider ? run.steps.length - 1 : 0].flatMap((last) => [0, 1, last].map((at) => {
  if (last) show(Math.min(at, last));
  return %s;
}))
"""


@of_each(PAGES)
def test_all_text_can_be_read(shown, name):
    browser = shown(name, 1600)
    browser.evaluate("document.querySelectorAll('details').forEach((fold) => fold.open = true)")
    for scheme in ("light", "dark"):
        browser.media(scheme)
        paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
        for ratio, where in browser.evaluate(FAINTEST):
            assert ratio >= CONTRAST, (scheme, where)


@of_each(NAMES)
def test_the_answer_is_folded_until_it_is_asked_for(shown, name):
    browser = shown(name)
    visible = "document.querySelector('#answer details p').checkVisibility()"
    assert not browser.evaluate(visible)
    browser.evaluate(TURN)
    browser.press("End")
    assert browser.evaluate(visible)
    runs = browser.evaluate("data.runs.map((run) => run.steps.at(-1).rows"
                            ".map((row) => row.map(([text]) => text)))")
    assert browser.evaluate(STATE)["rows"] == runs[-1]
    browser.evaluate(TURN)
    assert browser.evaluate(STATE)["rows"] == runs[0]


@pytest.mark.soak
@of_each(PAGES)
def test_nothing_overflows(shown, soak, name, width):
    for_a_soak(soak, name, width)
    browser = shown(name, width)
    browser.evaluate("document.querySelectorAll('details').forEach((fold) => fold.open = true)")
    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate(STEPWISE % OUTSIDE.strip()) == [[0]] * 3


# Of each step: where all stands that a reader looks at, and what sticks out of its cell, of its
# picture, or lies over another word there or over the edge of a box.
PLACES = """
run.steps.map((_, at) => {
  show(at);
  const place = (one) => {
    const {left, top, width, height} = one.getBoundingClientRect();
    return [left, top + scrollY, width, height].map(Math.round).join(" ");
  };
  return [
    [...document.querySelectorAll("#caption, figure > svg, #state thead th, #state tbody tr, "
     + "#question")].map(place),
    [...document.querySelectorAll("#state td, #state th")]
      .filter((cell) => cell.scrollWidth > cell.clientWidth + 1).map((cell) => cell.outerHTML)
      .concat(...[...document.querySelectorAll("figure > svg")].map((svg) => {
        const words = [...svg.querySelectorAll("text")].filter((text) => text.textContent)
          .map((text) => [text.textContent, text.getBBox()])
          .map(([text, {x, y, width, height}]) => [text, {x, y, width, height}])
          .filter(([, box]) => box.width);
        const [, , wide, high] = svg.getAttribute("viewBox").split(" ").map(Number);
        // one side of a box goes through the word, and not only through the room above it
        const through = (from, to, edges, slack) => edges.some(
          (edge) => from < edge - slack && edge + slack < to);
        const common = (a, b, at, size) => Math.min(a[at] + a[size], b[at] + b[size])
          - Math.max(a[at], b[at]);
        const frames = [...svg.querySelectorAll("rect.box, rect.active")]
          .map((one) => one.getBBox()).map(({x, y, width, height}) => ({x, y, width, height}));
        const across = (box) => frames.some((one) =>
            common(box, one, "y", "height") > 3
              && through(box.x, box.x + box.width, [one.x, one.x + one.width], 1)
            || common(box, one, "x", "width") > 3
              && through(box.y, box.y + box.height, [one.y, one.y + one.height], 2));
        return words.filter(([, box], n) => box.x < -1 || box.x + box.width > wide + 1
                            || box.y < -1 || box.y + box.height > high - .5 || across(box)
          || words.slice(n + 1).some(([, other]) =>
               Math.min(box.x + box.width, other.x + other.width) - Math.max(box.x, other.x) > 1
               && Math.min(box.y + box.height, other.y + other.height)
                  - Math.max(box.y, other.y) > 3)).map(([text]) => text);
      }))];
})
"""


@pytest.mark.soak
@of_each(NAMES)
def test_nothing_moves_under_the_slider(shown, soak, name, width):
    """Nor when the answer is opened: captions, pictures, columns and rows are where they were; and
    with the slider at the top of a window of 800 pixels, the lesson's own picture is in it."""
    for_a_soak(soak, name, width)
    browser = shown(name, width)
    found = browser.evaluate(PLACES)
    player, picture, words = browser.evaluate(
        "['.player', 'figure > svg', '#caption'].map((name) => {"
        " const at = document.querySelector(name).getBoundingClientRect();"
        " return [at.top, at.bottom]; })")
    assert picture[0] - player[1] <= words[1] - words[0] + 40
    assert picture[1] - player[0] <= 800
    browser.evaluate(TURN)
    found += browser.evaluate(PLACES)
    assert [outside for _, outside in found if outside] == []
    for places, _ in found:
        assert places == found[0][0]


# What another run has of longer words: a bug's symptoms; of a soak, each case and some seeds.
OTHERS = ([("bug", 3, case) for case in load("bug").CASES],
          [(name, 3, case) for name in NAMES for case in load(name).CASES]
          + [(name, seed, None) for name in NAMES for seed in range(2, 12)])


@pytest.mark.soak
def test_nothing_sticks_out_in_another_run(browser, soak, tmp_path):
    browser.size(400)
    browser.media()
    wrong = set()
    for name, seed, case in OTHERS[soak]:
        (tmp_path / "page.html").write_text(lesson_page(load(name).run(seed, case), [], True))
        browser.open(tmp_path / "page.html")
        browser.evaluate(TURN)
        wrong |= {(name, seed, case, *out) for _, out in browser.evaluate(PLACES) if out}
    assert wrong == set()


def test_a_window_that_gets_narrow_is_measured_again(shown):
    browser = shown("history", 1600)
    browser.size(400)
    browser.evaluate("new Promise((done) => setTimeout(done, 200))")
    places = browser.evaluate(PLACES)
    assert all(found == places[0] for found in places)
    assert browser.evaluate(OUTSIDE) == [0]
