// SPDX-License-Identifier: GPL-2.0-only
// The slider over a recorded run: shows one step of the state, the pictures and the caption.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
let run = data.runs[0];
const slider = document.getElementById("slider");
const state = document.getElementById("state").tBodies[0];
const words = document.getElementById("caption");
const pictures = [...document.querySelectorAll("figure > svg")];
let tall = [];          // the height of each row of the state
let last = run.steps.length - 1;

const shape = ([tag, attributes, text]) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  return made;
};

// The digits of a number in binary, or the bytes of code, each in a box of its own.
const boxes = (text, form, before) => {
  const parts = form === "bits" ? [...text] : text.split(/( )/);
  return parts.map((part, n) => {
    const box = document.createElement("span");
    box.textContent = part;
    if (part !== " ") box.className = form + (part === "1" && form === "bits" ? " one" : "");
    if (before && before !== text && before.length === text.length) {
      const old = form === "bits" ? before[n] : before.split(/( )/)[n];
      if (old !== part) box.classList.add("turned");
    }
    return box;
  });
};

const cell = ([text, kind, form], column, before) => {
  const made = document.createElement(column ? "td" : "th");
  if (!column) made.scope = "row";
  made.className = kind && "k-" + kind;
  made.dataset.title = data.columns[column];
  if (form) {
    const line = document.createElement("span");
    line.className = "boxes";
    line.append(...boxes(text, form, before && before[0]));
    made.append(line);
  } else {
    made.textContent = text;
  }
  return made;
};

const lines = (steps, at) => {
  const old = at ? steps[at - 1].rows : [];
  return steps[at].rows.map((row, r) => {
    const line = document.createElement("tr");
    line.append(...row.map((one, column) => cell(one, column, old[r] && old[r][column])));
    if (tall[r]) line.style.height = `${tall[r]}px`;
    return line;
  });
};

// Caption and rows are as high as they get in any step, so that nothing jumps below them.
const measure = () => {
  let most = 0;
  const found = [];
  tall = [];
  words.ariaLive = "off";
  words.style.minHeight = "";
  for (const { steps } of data.runs) {
    steps.forEach((step, at) => {
      words.textContent = step.caption;
      state.replaceChildren(...lines(steps, at));
      most = Math.max(most, words.getBoundingClientRect().height);
      [...state.rows].forEach((row, r) => {
        found[r] = Math.max(found[r] || 0, row.getBoundingClientRect().height);
      });
    });
  }
  tall = found;
  words.style.minHeight = `${most}px`;
  words.ariaLive = "polite";
};

const show = (wanted) => {
  const at = Math.max(0, Math.min(last, wanted));
  const { caption } = run.steps[at];
  slider.value = at;
  slider.setAttribute("aria-valuetext", `step ${at + 1} of ${last + 1}: ${caption}`);
  document.getElementById("count").textContent = `${at + 1} of ${last + 1}`;
  words.textContent = caption;
  state.replaceChildren(...lines(run.steps, at));
  pictures.forEach((picture, n) => {
    picture.querySelector(".moving").replaceChildren(...run.figures[n].steps[at].map(shape));
  });
  for (const [name, end] of [["first", 0], ["back", 0], ["next", last], ["last", last]]) {
    document.getElementById(name).disabled = at === end;
  }
};

const here = () => Number(slider.value);
const moves = {
  first: () => 0, back: () => here() - 1, next: () => here() + 1, last: () => last,
};
for (const name of Object.keys(moves)) {
  document.getElementById(name).addEventListener("click", () => show(moves[name]()));
}
slider.addEventListener("input", () => show(here()));
const keys = { Home: "first", ArrowLeft: "back", ArrowRight: "next", End: "last" };
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
  if (event.target === slider || !keys[event.key]) return;
  event.preventDefault();
  show(moves[keys[event.key]]());
});
document.addEventListener("click", (event) => {
  const column = event.target.closest("[data-step]");
  if (column) show(Number(column.dataset.step));
});
document.addEventListener("pointerover", (event) => {
  const dot = event.target.closest("[data-tip]");
  if (dot) document.getElementById("tip").textContent = dot.dataset.tip;
});

// What the question hides is there while the answer is open.
const fold = document.querySelector("#answer details");
if (fold && data.runs.length > 1) {
  fold.addEventListener("toggle", () => {
    run = data.runs[fold.open ? 1 : 0];
    last = run.steps.length - 1;
    slider.max = last;
    pictures.forEach((picture, n) => {
      picture.querySelector(".still").replaceChildren(...run.figures[n].still.map(shape));
    });
    show(here());
  });
}

// On paper the pictures stand at the last step that hides nothing; all steps are in their table.
let before = 0;
const told = () => (run === data.runs[0] ? Number(slider.dataset.told) : last);
window.addEventListener("beforeprint", () => { before = here(); show(told()); });
window.addEventListener("afterprint", () => show(before));
let wide = innerWidth;
window.addEventListener("resize", () => {
  if (innerWidth === wide) return;
  wide = innerWidth;
  measure();
  show(here());
});
slider.max = last;
document.body.classList.add("live");
measure();
show(0);
