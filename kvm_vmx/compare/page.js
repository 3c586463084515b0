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
  (link) => [decodeURIComponent(link.hash.slice(1)), link.closest("tr")]));
const main = document.querySelector("main");
const SOURCE = "https://elixir.bootlin.com/linux/v";
const BLAME = "https://git.kernel.org/pub/scm/linux/kernel/git/stable/linux.git/blame/";
const stored = document.getElementById("units");
const units = stored ? JSON.parse(stored.textContent) : { rows: {} };
const DIFFERENT = ".row:is(.adapted, .omitted, .added, .unexplained, .changed, .gone, .came)";
// The columns of statements, with the letter that a link has for each.
const SIDES = { kernel: "k", port: "p", new: "n" };
const MEANING = { omitted: "left out", added: "ours", idiom: "by idiom", same: "the same" };
const texts = new Map();
let current = null;

const textOf = (section) => {
  const rows = units.rows[section.id];
  if (!texts.has(section)) {
    texts.set(section, (rows ? section.textContent + rows.map(told).join("\n")
      : section.textContent).toLowerCase());
  }
  return texts.get(section);
};

const make = (tag, name, ...inside) => {
  const made = document.createElement(tag);
  if (name) made.className = name;
  made.append(...inside);
  return made;
};

// A row of units: [class, line, text, [[file, line, text] of the port], why].
const told = ([, , text, port, why]) =>
  [text, ...port.map(([, , one]) => one), units.whys[why]].join(" ");

const drawn = ([kind, line, text, port, why], n, rows) => {
  const kernel = make("div", "kernel", ...(line ? [make("b", "", String(line)), text] : []));
  const ours = make("div", "port", ...port.flatMap(([file, at, one], nth) => {
    const number = make("b", "", String(at));
    number.title = `${units.files[file]}:${at}`;
    return [nth ? "\n" : "", number, one];
  }));
  const before = n && rows[n - 1][4] === why;
  if (units.whys[why] && !before) ours.append(make("em", "", units.whys[why]));
  return make("div", `row ${units.classes[kind]}`, kernel, ours);
};

const fill = (section) => {
  const box = section.querySelector(".rows.units");
  if (box && !box.firstChild) box.append(...units.rows[section.id].map(drawn));
};

// Of a section of units a search leaves the rows that hold what is asked.
const narrow = (section, asked) => {
  const rows = units.rows[section.id];
  if (!rows || section.hidden) return;
  const named = !asked || section.id.toLowerCase().includes(asked);
  if (asked.length > 2) {
    fill(section);
    section.firstElementChild.open = true;
  }
  [...section.querySelectorAll(".row")].forEach((row, n) => {
    row.hidden = !named && !told(rows[n]).toLowerCase().includes(asked);
  });
};

// Where each function stands: the kernel's in its sources and their history, the port's in its file.
const linked = (text, version) => {
  const [path, line] = text.split(":");
  const link = (href, title) => {
    const made = make("a", "", title);
    made.href = href;
    return made;
  };
  if (path.startsWith("kvm_vmx/")) return [link(`${main.dataset.root}/${path}`, text)];
  return version ? [link(`${SOURCE}${version}/source/${path}#L${line}`, text), " ",
    link(`${BLAME}${path}?h=v${version}#n${line}`, "blame")] : [text];
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
    narrow(section, asked);
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
      made.className = part.className;
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
  for (const section of sections) {
    if (open) fill(section);
    section.firstElementChild.open = open;
  }
};

// Where a row stands: its function's links on both sides, with the row's own lines in them.
const tell = (section, cell, line) => {
  const sides = [...section.querySelectorAll("summary small")].slice(0, 3);
  const made = sides.flatMap((side, n) => {
    const number = cell.closest(".row").querySelector(`.${Object.keys(SIDES)[n]} b`);
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
  const [name, side, line] = decodeURIComponent(location.hash.slice(1)).split(/:([kpn])/);
  const section = name && document.getElementById(name);
  if (!section || !section.matches("section")) return;
  section.hidden = false;
  fill(section);
  section.firstElementChild.open = true;
  if (!line) return;
  const column = Object.keys(SIDES).find((name) => SIDES[name] === side);
  const cells = section.querySelectorAll(`.rows .${column} b`);
  const number = [...cells].find((one) => one.textContent === line);
  if (!number) return;
  show(number.closest(".row"));
  tell(section, number.parentElement, line);
};

document.addEventListener("click", (event) => {
  const number = event.target.closest(".rows b");
  if (!number) return;
  const section = number.closest("section");
  const side = SIDES[number.parentElement.className];
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
document.addEventListener("toggle", (event) => {
  if (event.target.open) fill(event.target.parentElement);
}, true);
addEventListener("beforeprint", () => fold(true));
for (const small of document.querySelectorAll("section.function summary small")) {
  if (/^\S+:\d+$/.test(small.textContent)) {
    small.replaceChildren(...linked(small.textContent, small.dataset.version ?? main.dataset.version));
  }
}
for (const section of sections) {
  const entry = entries.get(section.id);
  const bar = section.querySelector("summary .bar");
  for (const part of bar ? bar.children : []) {
    part.title = `${MEANING[part.className] || part.className} ${part.style.flexGrow}`;
  }
  // between the name and the last three cells there is one for each place
  const strip = entry ? entry.cells.length - 3 : 0;
  if (entry && bar) entry.cells[strip].append(bar.cloneNode(true));
  if (entry && !units.rows[section.id]) {
    [...section.querySelectorAll("summary small")].slice(0, strip - 1).forEach((small, n) => {
      entry.cells[n + 1].textContent = small.textContent.replace(" blame", "");
    });
  }
}
draw();
follow();
}
