# SPDX-License-Identifier: GPL-2.0-only
"""The course in a real browser where there is one: keys, slider, sizes, colours."""

import functools
import json

import pytest

from kvm_vmx.lessons import NAMES, load
from kvm_vmx.lessons.page import lesson_page

pytestmark = pytest.mark.host("browser")
PAGES = (*NAMES, "index")
# On these the keyboard's keys are pressed, each time.
PRESSED = NAMES[::7]
# The least contrast of text that may be read (WCAG 2.1, level AA).
CONTRAST = 4.5
FAINTEST = """
(() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const mixed = new Map();
  const over = (colours) => {
    const name = colours.join(";");
    if (mixed.has(name)) return mixed.get(name);
    canvas.clearRect(0, 0, 1, 1);
    for (const [colour, alpha] of colours) {
      canvas.globalAlpha = alpha; canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    }
    mixed.set(name, [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3));
    return mixed.get(name);
  };
  const light = (rgb) => rgb.map((one) => one / 255)
    .map((one) => one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, n) => sum + one * [0.2126, 0.7152, 0.0722][n], 0);
  const below = (element) => {
    const found = [];
    for (; element; element = element.parentElement) {
      found.unshift([getComputedStyle(element).backgroundColor, 1]);
    }
    return [["white", 1], ...found];
  };
  const shapes = new Map([...document.querySelectorAll("svg")].map((svg) => [svg,
    [...svg.querySelectorAll("rect, circle")].map((one) => {
      const {fill, opacity} = getComputedStyle(one);
      return {one, fill, opacity: Number(opacity), at: one.getBoundingClientRect()};
    }).filter(({fill}) => fill !== "none")]));
  // what a picture has painted under the middle of a word
  const painted = (svg, word) => {
    const {left, right, top, bottom} = word.getBoundingClientRect();
    const x = (left + right) / 2, y = (top + bottom) / 2;
    return shapes.get(svg).filter(({one, at}) =>
      at.left < x && x < at.right && at.top < y && y < at.bottom
        && one.compareDocumentPosition(word) & Node.DOCUMENT_POSITION_FOLLOWING)
      .map(({fill, opacity}) => [fill, opacity]);
  };
  let faintest = [99, ""];
  for (const element of document.body.querySelectorAll("*")) {
    const text = [...element.childNodes].filter((node) => node.nodeType === 3)
      .map((node) => node.data).join("").trim();
    if (!text || element.closest(":disabled, script") || !element.getClientRects().length) continue;
    const style = getComputedStyle(element), svg = element.closest("svg");
    const behind = [...below(svg || element), ...(svg ? painted(svg, element) : [])];
    const a = light(over(behind)) + 0.05;
    const b = light(over([...behind, [svg ? style.fill : style.color, 1]])) + 0.05;
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
    assert len({str(moving) for moving in seen.values()}) == len(steps)

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
        for ratio, where in browser.evaluate(STEPWISE % FAINTEST.strip()):
            assert ratio >= CONTRAST, (scheme, where)


@of_each(NAMES)
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
    browser.evaluate("document.querySelector('summary').click()")
    browser.evaluate("new Promise((done) => setTimeout(done, 50))")
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
        browser.evaluate("document.querySelector('summary').click()")
        browser.evaluate("new Promise((done) => setTimeout(done, 50))")
        wrong |= {(name, seed, case, *out) for _, out in browser.evaluate(PLACES) if out}
    assert wrong == set()


def test_a_window_that_gets_narrow_is_measured_again(shown):
    browser = shown("history", 1600)
    browser.size(400)
    browser.evaluate("new Promise((done) => setTimeout(done, 200))")
    places = browser.evaluate(PLACES)
    assert all(found == places[0] for found in places)
    assert browser.evaluate(OUTSIDE) == [0]
