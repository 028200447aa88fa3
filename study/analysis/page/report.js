"use strict";

// Light or dark: as the system says, until the reader says otherwise.
const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");
const setTheme = (theme) => { root.dataset.theme = theme; };
let chosen = null;
try { chosen = localStorage.getItem("theme"); } catch { /* a page opened from a file may have no storage */ }
setTheme(chosen ?? (dark.matches ? "dark" : "light"));
dark.addEventListener("change", () => { if (chosen === null) setTheme(dark.matches ? "dark" : "light"); });
document.getElementById("theme").addEventListener("click", () => {
  chosen = root.dataset.theme === "dark" ? "light" : "dark";
  setTheme(chosen);
  try { localStorage.setItem("theme", chosen); } catch { /* kept for this visit alone */ }
});

// Tables: filters, search, sorting, and the first rows until more are asked for.
class Sheet {
  constructor(element) {
    this.element = element;
    this.body = element.querySelector("tbody");
    this.rows = [...this.body.rows].map((row, place) => ({
      row, place, keys: JSON.parse(row.dataset.keys), text: row.textContent.replaceAll("\u00a0", " ").toLowerCase(),
    }));
    this.headers = [...element.querySelectorAll("th[aria-sort]")];
    this.filters = [...element.querySelectorAll("[data-filter]")];
    this.search = element.querySelector("[data-search]");
    this.chooser = element.querySelector("[data-sort]:is(select)");
    this.more = element.querySelector(".more");
    this.all = false;
    this.column = -1;
    this.direction = 1;
    this.headers.forEach((header, i) => header.firstElementChild.addEventListener("click", () => {
      this.sort(i, this.column === i ? -this.direction : 1);
    }));
    this.chooser.addEventListener("change", () => this.sort(this.chooser.value === "" ? -1 : Number(this.chooser.value), 1));
    for (const filter of this.filters) filter.addEventListener("change", () => this.show());
    this.search.addEventListener("input", () => this.show());
    for (const button of element.querySelectorAll("[data-reset]")) button.addEventListener("click", () => this.reset());
    this.more.addEventListener("click", () => { this.all = !this.all; this.show(); });
    this.show();
  }

  sort(column, direction) {
    this.column = column;
    this.direction = direction;
    this.headers.forEach((header, i) => {
      header.setAttribute("aria-sort", i !== column ? "none" : direction === 1 ? "ascending" : "descending");
    });
    this.chooser.value = column === -1 ? "" : String(column);
    const key = ({ row }) => column === -1 ? "" : row.cells[column].dataset.sort;
    this.rows.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      if ((x === "") !== (y === "")) return x === "" ? 1 : -1; // what is missing stays last
      const numbers = x !== "" && !isNaN(x) && !isNaN(y);
      const order = numbers ? Number(x) - Number(y) : x.localeCompare(y, "en", { numeric: true });
      return order * direction || a.place - b.place;
    });
    this.body.append(...this.rows.map(({ row }) => row));
    this.show();
  }

  matches({ keys, text }) {
    const words = this.search.value.toLowerCase().split(/\s+/);
    return words.every((word) => text.includes(word)) && this.filters.every(
      (filter) => filter.value === "" || keys[filter.dataset.filter].split("|").includes(filter.value),
    );
  }

  show() {
    const found = this.rows.filter((entry) => this.matches(entry));
    const limit = this.all ? Infinity : Number(this.element.dataset.limit);
    for (const { row } of this.rows) row.hidden = true;
    for (const { row } of found.slice(0, limit)) row.hidden = false;
    this.element.querySelector(".count").textContent = `${found.length} of ${this.rows.length} rows`;
    this.element.querySelector(".none").hidden = found.length > 0;
    this.more.hidden = found.length <= Number(this.element.dataset.limit);
    this.more.textContent = this.all ? "Show fewer" : `Show all ${found.length} rows`;
  }

  reset() {
    for (const filter of this.filters) filter.value = "";
    this.search.value = "";
    this.sort(-1, 1);
  }
}

const sheets = new Map([...document.querySelectorAll(".sheet")].map((element) => [element.id, new Sheet(element)]));

for (const tile of document.querySelectorAll(".tile")) {
  tile.addEventListener("click", () => {
    const claims = sheets.get("claims");
    claims.reset();
    claims.element.querySelector('[data-filter="verdict"]').value = tile.dataset.verdict;
    claims.show();
    document.getElementById("the-claims").scrollIntoView();
  });
}

// Commands: a click copies them.
for (const button of document.querySelectorAll(".command")) {
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(button.dataset.command);
      button.classList.add("copied");
      setTimeout(() => button.classList.remove("copied"), 1500);
    } catch {
      getSelection().selectAllChildren(button.firstElementChild); // to be copied by hand
    }
  });
}

// Figures, large.
const large = document.getElementById("large");
const pictures = [...document.querySelectorAll(".picture")];
let shown = 0;
const step = (by) => {
  shown = (shown + by + pictures.length) % pictures.length;
  const image = pictures[shown].querySelector("img");
  const copy = large.querySelector("img");
  copy.src = image.currentSrc;
  copy.alt = image.alt;
};
pictures.forEach((button, i) => button.addEventListener("click", () => {
  shown = i;
  step(0);
  large.showModal();
}));
for (const button of large.querySelectorAll("[data-step]")) button.addEventListener("click", () => step(Number(button.dataset.step)));
large.querySelector("[data-close]").addEventListener("click", () => large.close());
large.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
large.addEventListener("close", () => pictures[shown].focus());
