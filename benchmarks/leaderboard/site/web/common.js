// Loading data files by script tag, and building elements from texts. No text is ever read as HTML.
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

  // el("td", {class: "left"}, "text", otherElement)
  function el(name, attributes, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
    made.append(...children.filter(child => child !== null && child !== undefined));
    return made;
  }

  // Behind an interval that is not over seeds.
  const OVER = {sentences: " s", timings: " t", "fine-tunings": " f"};
  const has = value => value !== null && value !== undefined;
  const fixed = (value, digits = 1, scale = 1) => has(value) ? (value * scale).toFixed(digits) : "-";
  const grouped = value => has(value) ? Math.round(value).toLocaleString("en") : "-";
  const sig = value => !has(value) ? "-" : Math.abs(value) >= 100 ? grouped(value) : value.toPrecision(3);
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

  return {index: keep("index"), table: keep("table"), runs: keep("runs"), claims: keep("claims"), load, el, has, fixed, grouped, sig,
    interval, measured, limit, list: () => loaded.get("index/"), judged: () => loaded.get("claims/")};
})();
