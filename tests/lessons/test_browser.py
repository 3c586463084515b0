# SPDX-License-Identifier: GPL-2.0-only
"""The course in a real browser where there is one: keys, slider, sizes, colours."""

import functools

import pytest

from kvm_vmx.lessons import NAMES, load
from kvm_vmx.lessons.page import lesson_page

pytestmark = pytest.mark.host("browser")
PAGES = (*NAMES, "index")
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


def expected(browser):
    """The steps as the page's data has them: caption, and the rows' texts."""
    return browser.evaluate(
        "run.steps.map((step) => [step.caption, step.rows.map((row) => row.map(([t]) => t))])")


# What is seen of each step on the way there and back, by keys that the page's own listener gets.
WALK = """
["ArrowRight", "ArrowLeft"].map((key) => run.steps.map(() => {
  document.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
  return %s;
}))
""" % STATE.strip()


@of_each(NAMES)
def test_keys_slider_and_buttons_move_the_picture(shown, name):
    browser = shown(name)
    steps = expected(browser)
    last = len(steps) - 1
    seen = {}

    def check(step, state=None):
        state = state or browser.evaluate(STATE)
        assert state["step"] == step and state["count"] == f"{step + 1} of {last + 1}"
        assert [state["caption"], state["rows"]] == steps[step]
        assert seen.setdefault(step, state["moving"]) == state["moving"]

    check(0)
    browser.press("ArrowLeft")
    check(0)
    there, back = browser.evaluate(WALK)
    for step, state in enumerate(there, 1):
        check(min(step, last), state)
    for step, state in enumerate(back, 1):
        check(max(last - step, 0), state)
    for step in (1, 2):                      # those of the keyboard are no others
        browser.press("ArrowRight")
        check(min(step, last))
    browser.press("End")
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


@of_each(PAGES)
def test_all_text_can_be_read(shown, name):
    browser = shown(name, 1600)
    browser.evaluate("document.querySelectorAll('details').forEach((fold) => fold.open = true)")
    for scheme in ("light", "dark"):
        browser.media(scheme)
        paper = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
        for key in ("Home", "ArrowRight", "End"):
            browser.press(key)
            ratio, where = browser.evaluate(FAINTEST)
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


@of_each(PAGES)
@pytest.mark.parametrize("width", [1600, 400])
def test_nothing_overflows(shown, name, width):
    browser = shown(name, width)
    browser.evaluate("document.querySelectorAll('details').forEach((fold) => fold.open = true)")
    for key in ("Home", "End"):
        browser.press(key)
        assert browser.evaluate("innerWidth") == width
        assert browser.evaluate(OUTSIDE) == [0]


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


# The layout is the same from 1000 pixels on: a soak looks at all widths.
WIDTHS = (400, 1280), (400, 1000, 1280, 1600)


@pytest.mark.soak
@of_each(NAMES)
def test_nothing_moves_under_the_slider(shown, soak, name):
    """Nor when the answer is opened: captions, pictures, columns and rows are where they were; and
    with the slider at the top of a window of 800 pixels, the lesson's own picture is in it."""
    for width in WIDTHS[soak]:
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
