// Loading data files by script tag, building elements from texts, figures, addresses. No text is ever read as HTML.
"use strict";

const supernetBench = (() => {
  const loaded = new Map();
  const keep = kind => value => loaded.set(kind + "/" + (value.id || ""), value);

  function load(kind, id) {
    const key = kind + "/" + id;
    if (loaded.has(key)) return Promise.resolve(loaded.get(key));
    return new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = "data/" + id + ".js";
      script.onload = () => done(loaded.get(key));
      script.onerror = () => failed(new Error("the file data/" + id + ".js is missing"));
      document.head.append(script);
    });
  }

  function built(made, attributes, children) {
    for (const [key, value] of Object.entries(attributes || {})) if (has(value)) made.setAttribute(key, value);
    made.append(...children.filter(has));
    return made;
  }
  // el("td", {class: "left"}, "text", otherElement); an attribute that is null is left out
  const el = (name, attributes, ...children) => built(document.createElement(name), attributes, children);
  const svg = (name, attributes, ...children) =>
    built(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

  // Behind an interval that is not over seeds.
  const OVER = {sentences: " s", timings: " t", "fine-tunings": " f"};
  const NOTES = {s: "over test items", t: "over timings", f: "over fine-tuning seeds"};
  // In a sentence a mark would read as a unit.
  const unmarked = text => text.replace(/\] [stf]$/, "]");
  // A note on the marks that a table shows, made once; empty without marks.
  function markNote(table) {
    if (has(table.marks)) return table.marks;
    const shown = new Set();
    for (const row of table.rows) {
      for (const score of Object.values(row.scores)) if (score) shown.add(OVER[score[3]]);
      for (const span of Object.values(row.spans)) if (span) shown.add(OVER[span[2]]);
    }
    const words = Object.keys(NOTES).filter(letter => shown.has(" " + letter)).map(letter => `${letter} ${NOTES[letter]}`);
    return table.marks = words.length ? `. Interval of one network, seeds' luck left out: ${words.join(", ")}` : "";
  }
  const has = value => value !== null && value !== undefined;
  const fixed = (value, digits = 1, scale = 1) => has(value) ? (value * scale).toFixed(digits) : "-";
  const grouped = value => has(value) ? Math.round(value).toLocaleString("en") : "-";
  const sig = value => !has(value) ? "-" : Math.abs(value) >= 100 ? grouped(value) : Number(value).toPrecision(3);
  function interval(score, digits = 1) {
    if (!score || !has(score[0])) return "-";
    const range = has(score[1]) && has(score[2])
      ? " [" + score[1].toFixed(digits) + ", " + score[2].toFixed(digits) + "]" : "";
    return score[0].toFixed(digits) + range + (range ? OVER[score[3]] || "" : "");
  }
  // A figure of a row with its interval; digits "sig": three significant ones, the ends with as many decimals.
  function measured(row, key, digits, scale = 1) {
    if (!has(row[key])) return "-";
    const text = digits === "sig" ? sig(row[key] * scale) : null;
    let places = text === null ? digits : (text.split(".")[1] || "").length;
    const figure = value => (value * scale).toLocaleString("en",
      {minimumFractionDigits: places, maximumFractionDigits: places});
    const span = row.spans[key];
    const equal = () => figure(span[0]) === figure(span[1]);
    for (let more = 0; span && equal() && more < 3; more += 1) places += 1;
    if (!span || equal()) {
      places = text === null ? digits : (text.split(".")[1] || "").length;
      return figure(row[key]);
    }
    return figure(row[key]) + (span ? ` [${figure(span[0])}, ${figure(span[1])}]${OVER[span[2]] || ""}` : "");
  }
  const limit = row => row.limit || "-";

  // Rows of a table from the columns of its first file; the rest of their figures come with `more`.
  function rows(table) {
    const {columns, strings, n} = table.core, keys = Object.keys(columns);
    strings.method.forEach((method, i) => styles.set(method, table.core.looks[i]));
    table.rows = Array.from({length: n}, (_, place) => ({place, spans: {}, scores: {}, elsewhere: {}}));
    for (const key of keys) {
      const [kind, name] = key.split("."), values = columns[key];
      for (let i = 0; i < n; i += 1) {
        const row = table.rows[i], value = values[i];
        if (kind === "span") { if (value) row.spans[name] = value; }
        else if (kind === "score") { if (value) row.scores[name] = value; }
        else row[key] = strings[key] && has(value) ? strings[key][value] : value;
      }
    }
    return table;
  }
  async function more(table, place) {
    const files = Math.ceil(table.rows.length / table.rows_a_file);
    const wanted = has(place) ? [Math.floor(place / table.rows_a_file)] : [...Array(files).keys()];
    await Promise.all(wanted.map(async file => {
      const part = await load("more", `${table.id}-more-${file}`);
      part.rows.forEach((rest, i) => {
        const row = table.rows[file * table.rows_a_file + i];
        for (const [key, value] of Object.entries(rest)) {
          if (value && typeof value === "object" && !Array.isArray(value)) Object.assign(row[key] || (row[key] = {}), value);
          else row[key] = value;
        }
      });
    }));
  }
  const open = async id => { const table = await load("table", id); return table.rows ? table : rows(table); };

  // The address: `#what&key=value&...`; what is at its default is left out.
  const address = {
    read() {
      const [what, ...rest] = location.hash.slice(1).split("&");
      return {what: decodeURIComponent(what || ""), choices: new URLSearchParams(rest.join("&"))};
    },
    write(what, choices) {
      const kept = choices.filter(([, value]) => has(value) && value !== "");
      const hash = "#" + [what, new URLSearchParams(kept).toString()].filter(Boolean).join("&");
      if (hash !== location.hash && (hash !== "#" || location.hash)) history.replaceState(null, "", hash);
    },
  };

  // The mark of a method: as in benchmarks/report/plots/style.py, and the same on every page and in every plot.
  const polygon = (n, inner, turn = 0) => Array.from({length: n}, (_, i) => {
    const at = turn + 2 * Math.PI * i / n, size = i % 2 ? inner : 1;
    return (6.5 * size * Math.sin(at)).toFixed(2) + "," + (-6.5 * size * Math.cos(at)).toFixed(2);
  }).join("L");
  const SHAPES = ["M-5.5,0a5.5,5.5 0 1,0 11,0a5.5,5.5 0 1,0 -11,0Z", "M-5,-5H5V5H-5Z", "M0,-6.2L6,4.8H-6Z", "M0,-6.8L6.2,0L0,6.8L-6.2,0Z",
    "M0,6.2L6,-4.8H-6Z", "M-2.2,-6H2.2V-2.2H6V2.2H2.2V6H-2.2V2.2H-6V-2.2H-2.2Z",
    "M-5.6,-3L-3,-5.6L0,-2.6L3,-5.6L5.6,-3L2.6,0L5.6,3L3,5.6L0,2.6L-3,5.6L-5.6,3L-2.6,0Z", "M" + polygon(10, 0.42) + "Z",
    "M-6.2,0L4.8,-6V6Z", "M6.2,0L-4.8,-6V6Z"];
  const SIDES = {left: "M-9,-9H0V9H-9Z", right: "M0,-9H9V9H0Z", top: "M-9,-9H9V0H-9Z"};
  const styles = new Map();
  const style = method => styles.get(method) || [4, 0, "none"];
  function mark(method, attributes = {}) {
    const [colour, shape, fill] = style(method), path = SHAPES[shape];
    const inner = fill === "full" || !SIDES[fill] ? null
      : svg("path", {d: path, class: "side colour-" + colour, "clip-path": `url(#side-${fill})`});
    return svg("g", {...attributes, class: `mark colour-${colour} ${attributes.class || ""}`},
      svg("path", {d: path, class: fill === "full" ? "body" : "body hollow"}), inner);
  }
  const sides = () => svg("svg", {width: 0, height: 0, "aria-hidden": "true", class: "sides"}, svg("defs", {},
    ...Object.entries(SIDES).map(([name, d]) => svg("clipPath", {id: "side-" + name}, svg("path", {d})))));
  const icon = method => svg("svg", {viewBox: "-9 -9 18 18", width: 18, height: 18, class: "icon", "aria-hidden": "true"}, mark(method));

  return {index: keep("index"), table: keep("table"), more: keep("more"), below: keep("below"), views: keep("views"),
    runs: keep("runs"), claims: keep("claims"), load, open, complete: more, el, svg, has, fixed, grouped, sig, interval, measured, unmarked, markNote, limit,
    address, style, mark, icon, sides, list: () => loaded.get("index/"), judged: () => loaded.get("claims/")};
})();
