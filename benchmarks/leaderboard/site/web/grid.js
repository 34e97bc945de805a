// A table with pages: sorted by its headings, filtered by its owner, all of it in print.
"use strict";

supernetBench.grid = (() => {
  const {el, has} = supernetBench;
  const grids = [];

  // "31.8 [31.5, 32.1] s" in two parts, so that narrow columns break between figure and interval.
  function figure(text) {
    const at = typeof text === "string" ? text.indexOf(" [") : -1;
    return at < 0 ? [text] : [el("span", {}, text.slice(0, at)), " ", el("span", {class: "ci"}, text.slice(at + 1))];
  }

  // options: columns {key, head, left, words, value, cell}, caption, rows a page, sort and down, changed(state)
  function make(table, options) {
    const state = {lines: [], page: 0, sort: options.sort || null, down: Boolean(options.down), columns: options.columns || []};
    const size = options.size || 12;
    const scroll = table.closest(".scroll");
    const back = el("button", {type: "button"}, "Previous rows"), on = el("button", {type: "button"}, "Next rows"), said = el("span", {});
    const pager = el("nav", {class: "pages", "aria-label": "Pages of: " + (options.name || "the table")}, back, said, on);
    scroll.after(pager);

    function ordered() {
      const by = state.columns.find(one => one.key === state.sort), sign = state.down ? -1 : 1;
      if (!by) return state.lines;
      return state.lines.map((line, i) => [by.value(line), i, line]).sort(([x, i], [y, j]) => {
        if (!has(x) || !has(y)) return has(y) - has(x) || i - j;
        return (x < y ? -sign : x > y ? sign : 0) || i - j;
      }).map(([, , line]) => line);
    }
    function draw(whole = false) {
      const shown = ordered(), pages = Math.max(1, Math.ceil(shown.length / size));
      state.page = Math.max(0, Math.min(state.page, pages - 1));
      const columns = whole && options.every ? options.every() : state.columns;
      table.tHead.replaceChildren(el("tr", {}, ...columns.map(one => {
        const sorted = one.key === state.sort ? {"aria-sort": state.down ? "descending" : "ascending"} : {};
        const inside = one.value ? [el("button", {type: "button", "data-key": one.key}, one.head), el("span", {class: "on-paper"}, one.head)] : [one.head];
        return el("th", {scope: "col", class: one.left ? "left" : null, ...sorted}, ...inside);
      })));
      const part = whole ? shown : shown.slice(state.page * size, (state.page + 1) * size);
      table.tBodies[0].replaceChildren(...part.map(line => el("tr", options.row ? options.row(line) : {}, ...columns.map((one, i) => {
        const kind = (one.left ? "left" : "") + (one.words ? " words" : "");
        const cell = one.cell(line);
        return el(i ? "td" : "th", {class: kind || null, ...(i ? {} : {scope: "row"})}, ...(cell instanceof Node ? [cell] : Array.isArray(cell) ? cell : figure(cell)));
      }))));
      pager.hidden = pages < 2 || whole;
      said.textContent = `page ${state.page + 1} of ${pages}`;
      back.disabled = state.page === 0;
      on.disabled = state.page >= pages - 1;
    }
    function turn(by) {
      state.page += by;
      draw();
      if (options.changed) options.changed(state);
      scroll.focus({preventScroll: true});
    }
    function sort(key) {
      const by = state.columns.find(one => one.key === key);
      state.down = key === state.sort ? !state.down : Boolean(by && by.down);
      state.sort = key;
      state.page = 0;
      draw();
      if (options.changed) options.changed(state);
    }
    back.addEventListener("click", () => turn(-1));
    on.addEventListener("click", () => turn(1));
    table.tHead.addEventListener("click", event => {
      const key = event.target.dataset.key;
      if (!key) return;
      sort(key);
      table.tHead.querySelector(`[data-key="${CSS.escape(key)}"]`).focus();
    });
    const made = {state, draw, sort, show(lines, columns) {
      state.lines = lines;
      if (columns) state.columns = columns;
      draw();
    }};
    grids.push(made);
    return made;
  }

  // A table of plain texts: its headings are the keys of its lines.
  function plain(table, name) {
    const grid = make(table, {name, size: 12});
    return (lines, wordy) => grid.show(lines, (lines.length ? Object.keys(lines[0]) : []).map(key => ({key, head: key,
      left: wordy.includes(key), words: wordy.includes(key), cell: line => String(line[key]), value: line => number(line[key])})));
  }
  const number = text => { const value = parseFloat(String(text).replaceAll(",", "").replace(/^< /, "")); return Number.isNaN(value) ? String(text) : value; };

  // Paper has no pages to turn and nothing to unfold.
  const closed = new Set();
  window.addEventListener("beforeprint", () => {
    grids.forEach(grid => grid.draw(true));
    document.querySelectorAll("details:not([open])").forEach(one => { closed.add(one); one.open = true; });
  });
  window.addEventListener("afterprint", () => {
    grids.forEach(grid => grid.draw());
    closed.forEach(one => { one.open = false; });
    closed.clear();
  });

  return {make, plain, number};
})();
