# SPDX-License-Identifier: GPL-2.0-only
"""How faint the faintest text of a lesson's page is, asked in the page itself."""

# The least contrast of text that may be read (WCAG 2.1, level AA).
CONTRAST = 4.5
# Of all text, and then of what a step changes: the least contrast, and where that is.
FAINTEST = """
(() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const mixed = new Map(), grounds = new Map([[null, [["white", 1]]]]), stills = new Map();
  const over = (colours) => {
    const name = colours.join(";");
    if (mixed.has(name)) return mixed.get(name);
    canvas.clearRect(0, 0, 1, 1);
    for (const [colour, alpha] of colours) {
      canvas.globalAlpha = alpha; canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    }
    mixed.set(name, light([...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3)));
    return mixed.get(name);
  };
  const light = (rgb) => rgb.map((one) => one / 255)
    .map((one) => one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
    .reduce((sum, one, n) => sum + one * [0.2126, 0.7152, 0.0722][n], 0) + 0.05;
  const below = (element) => {
    if (!grounds.has(element)) {
      const colour = getComputedStyle(element).backgroundColor, rest = below(element.parentElement);
      grounds.set(element, colour === "rgba(0, 0, 0, 0)" ? rest : [...rest, [colour, 1]]);
    }
    return grounds.get(element);
  };
  const painting = (part) => [...part.querySelectorAll("rect, circle")].map((one) => {
    const {fill, opacity} = getComputedStyle(one);
    return {one, fill, opacity: Number(opacity), at: one.getBoundingClientRect()};
  }).filter(({fill}) => fill !== "none");
  // what a picture has painted under the middle of a word
  const painted = (shapes, word) => {
    const {left, right, top, bottom} = word.getBoundingClientRect();
    const x = (left + right) / 2, y = (top + bottom) / 2;
    return shapes.filter(({one, at}) =>
      at.left < x && x < at.right && at.top < y && y < at.bottom
        && one.compareDocumentPosition(word) & Node.DOCUMENT_POSITION_FOLLOWING)
      .map(({fill, opacity}) => [fill, opacity]);
  };
  const faintest = (elements) => {
    let found = [99, ""];
    const shapes = new Map();
    for (const element of elements) {
      const text = [...element.childNodes].filter((node) => node.nodeType === 3)
        .map((node) => node.data).join("").trim();
      if (!text || element.closest(":disabled, script") || !element.getClientRects().length)
        continue;
      const style = getComputedStyle(element), svg = element.closest("svg");
      if (svg && !shapes.has(svg)) {
        const moving = svg.querySelector(".moving");
        if (!moving) shapes.set(svg, painting(svg));
        else {
          if (!stills.has(svg)) stills.set(svg, painting(svg.querySelector(".still")));
          shapes.set(svg, [...stills.get(svg), ...painting(moving)]);
        }
      }
      const behind = svg ? [...below(svg), ...painted(shapes.get(svg), element)] : below(element);
      const a = over(behind), b = over([...behind, [svg ? style.fill : style.color, 1]]);
      const ratio = Math.max(a, b) / Math.min(a, b);
      if (ratio < found[0]) found = [ratio, `${element.outerHTML.slice(0, 120)}`];
    }
    return found;
  };
  const last = window.slider ? run.steps.length - 1 : 0;
  if (last) show(0);
  const all = [faintest(document.body.querySelectorAll("*"))];
  for (const at of last ? [1, last] : []) {
    show(at);
    all.push(faintest(document.querySelectorAll(".player *, #caption, #state *, .moving *")));
  }
  return all;
})()
"""
