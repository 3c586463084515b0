// SPDX-License-Identifier: GPL-2.0-only
// Search, folding, the next difference, a link for every row, and the map of all functions.
"use strict";
{
const find = document.getElementById("find");
const found = document.getElementById("found");
const place = document.getElementById("place");
const map = document.getElementById("map");
const sections = [...document.querySelectorAll("section.function")];
const entries = new Map([...document.querySelectorAll("#functions a")].map(
  (link) => [link.textContent, link.closest("tr")]));
const DIFFERENT = ".row.adapted, .row.omitted, .row.added, .row.unexplained";
const texts = new Map();
let current = null;

const textOf = (section) => {
  if (!texts.has(section)) texts.set(section, section.textContent.toLowerCase());
  return texts.get(section);
};

// A name that begins with what is asked comes before a text that holds it: both stay visible.
const search = () => {
  const asked = find.value.trim().toLowerCase();
  let count = 0;
  for (const section of sections) {
    const fits = !asked || section.id.toLowerCase().includes(asked) || textOf(section).includes(asked);
    section.hidden = !fits;
    const entry = entries.get(section.id);
    if (entry) entry.hidden = !fits;
    count += fits;
  }
  for (const part of document.querySelectorAll("h2.part")) {
    let next = part.nextElementSibling;
    while (next && next.hidden) next = next.nextElementSibling;
    part.hidden = !next || !next.matches("section");
  }
  for (const body of document.querySelectorAll("#functions tbody")) {
    body.hidden = ![...body.rows].some((row) => !row.hidden && !row.matches(".part"));
  }
  found.textContent = asked ? `${count} of ${sections.length}` : "";
  draw();
};

// The map: one stroke a function, as long as it has statements, coloured by its worst class.
const draw = () => {
  map.replaceChildren(...sections.filter((section) => !section.hidden).map((section) => {
    const parts = [...section.querySelectorAll("summary .bar i")];
    const link = document.createElement("a");
    const weight = parts.reduce((sum, part) => sum + Number(part.style.flexGrow), 0);
    link.href = "#" + section.id;
    link.title = section.id;
    link.tabIndex = -1;
    link.style.flexGrow = Math.max(weight, 4);
    link.append(...parts.map((part) => {
      const made = document.createElement("i");
      made.style.flex = part.style.flex;
      made.style.background = part.style.background;
      return made;
    }));
    return link;
  }));
};

const visible = (selector) => [...document.querySelectorAll(selector)].filter((row) => {
  const section = row.closest("section");
  return !section.hidden && section.firstElementChild.open;
});

const show = (row) => {
  if (current) current.classList.remove("current");
  current = row;
  row.classList.add("current");
  (row.firstElementChild || row).scrollIntoView({ block: "center" });
};

// The next or previous of some rows or functions, seen from the one that is current or on top.
const step = (all, by) => {
  if (!all.length) return;
  const from = current && document.contains(current) ? current : null;
  let at;
  if (from) {
    const after = (other) => from.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING;
    at = by > 0 ? all.findIndex((other) => other !== from && after(other))
      : all.findLastIndex((other) => other !== from && !after(other) && !other.contains(from));
  } else {
    const top = (other) => (other.firstElementChild || other).getBoundingClientRect().top;
    at = by > 0 ? all.findIndex((other) => top(other) > 60) : all.findLastIndex((other) => top(other) < 0);
  }
  if (at >= 0) show(all[at]);
};

const fold = (open) => {
  for (const section of sections) section.firstElementChild.open = open;
};

// Where a row stands: its function's links on both sides, with the row's own lines in them.
const tell = (section, cell, line) => {
  const sides = [...section.querySelectorAll("summary small")].slice(0, 2);
  const made = sides.flatMap((side, n) => {
    const number = cell.closest(".row").querySelector([".kernel b", ".port b"][n]);
    return number ? [...side.querySelectorAll("a")].map((link) => {
      const copy = link.cloneNode(true);
      copy.href = copy.href.replace(/#(L|n)\d+$/, `#$1${number.textContent}`);
      copy.textContent = copy.textContent.replace(/:\d+$/, `:${number.textContent}`);
      return copy;
    }) : [];
  });
  const link = document.createElement("a");
  link.href = location.hash;
  link.textContent = `link to ${section.id}, ${cell.className} ${line}`;
  place.replaceChildren(link, ...made.flatMap((one) => [" · ", one]));
  place.hidden = false;
};

const follow = () => {
  const [name, side, line] = decodeURIComponent(location.hash.slice(1)).split(/:([kp])/);
  const section = name && document.getElementById(name);
  if (!section || !section.matches("section")) return;
  section.hidden = false;
  section.firstElementChild.open = true;
  if (!line) return;
  const cells = section.querySelectorAll(side === "k" ? ".kernel b" : ".port b");
  const number = [...cells].find((one) => one.textContent === line);
  if (!number) return;
  show(number.closest(".row"));
  tell(section, number.parentElement, line);
};

document.addEventListener("click", (event) => {
  const number = event.target.closest(".rows b");
  if (!number) return;
  const section = number.closest("section");
  const side = number.parentElement.className === "kernel" ? "k" : "p";
  history.replaceState(null, "", `#${section.id}:${side}${number.textContent}`);
  show(number.closest(".row"));
  tell(section, number.parentElement, number.textContent);
});

const KEYS = {
  n: () => step(visible(DIFFERENT), 1),
  p: () => step(visible(DIFFERENT), -1),
  j: () => step(sections.filter((section) => !section.hidden), 1),
  k: () => step(sections.filter((section) => !section.hidden), -1),
  "/": () => { find.focus(); find.select(); },
  "[": () => fold(false),
  "]": () => fold(true),
};
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && event.target === find) { find.value = ""; search(); find.blur(); }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target === find) return;
  if (KEYS[event.key]) { event.preventDefault(); KEYS[event.key](); }
});

let waiting = 0;
find.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(search, 120); });
addEventListener("hashchange", follow);
addEventListener("beforeprint", () => fold(true));
draw();
follow();
}
