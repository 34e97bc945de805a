// The overview: which table, which of its rows, in which order.
"use strict";

(() => {
  const {el, has, fixed, sig, interval, measured, limit, load, chart} = supernetBench;
  const at = id => document.getElementById(id);
  const ROWS = 50;
  const {tables} = supernetBench.list();
  const KEYS = ["task", "tier", "profile"];
  const state = {table: null, sort: "quality", down: true, page: 0, most: Infinity, rows: [], steps: []};
  let mark = null;

  const score = row => row.scores[at("metric").value];
  const along = row => has(row[state.table.axis.key]) ? row[state.table.axis.key] * state.table.axis.scale : null;
  const COLUMNS = [
    {key: "method", head: "Method", left: true, value: row => row.method, cell: row => row.method},
    {key: "limit", head: "Limit", left: true, value: row => has(row.limit_share) ? row.limit_share : row.limit_ms,
      cell: limit},
    {key: "quality", head: "Quality", down: true, value: row => (score(row) || [null])[0], cell: row => interval(score(row))},
    {key: "status", head: "Status", left: true, value: row => row.status, cell: row => row.status},
    {key: "verified", head: "Verified", left: true, value: row => row.verified, cell: row => row.verified},
    {key: "p50", head: "p50 ms", value: row => row.p50, cell: row => measured(row, "p50", "sig")},
    {key: "p90", head: "p90 ms", value: row => row.p90, cell: row => measured(row, "p90", "sig")},
    {key: "ratio", head: "x reference", value: row => row.ratio, cell: row => measured(row, "ratio", 2)},
    {key: "params", head: "Parameters M", value: row => row.params, cell: row => fixed(row.params, 2, 1e-6)},
    {key: "macs", head: "MMACs", value: row => row.macs, cell: row => sig(has(row.macs) ? row.macs / 1e6 : null)},
    {key: "bytes", head: "MB", value: row => row.bytes, cell: row => fixed(row.bytes, 1, 1e-6)},
    {key: "tokens", head: "Tokens %", value: row => row.tokens, cell: row => measured(row, "tokens", 0, 100)},
    {key: "evaluations", head: "Evaluations %", value: row => row.evaluations, cell: row => measured(row, "evaluations", 0, 100)},
    {key: "probes", head: "Probes %", value: row => row.probes, cell: row => measured(row, "probes", 0, 100)},
    {key: "seconds", head: "Search s", value: row => row.seconds, cell: row => measured(row, "seconds", "sig")},
    {key: "joules", head: "Energy kJ", value: row => row.joules, cell: row => measured(row, "joules", 1, 1e-3)},
  ];
  const ANSWERS = ["any", "quality reproduces", "quality does not reproduce", "quality cannot tell", "self-reported"];
  // Latencies in other runtimes: a column each, of the table that is shown.
  const columns = () => [...COLUMNS, ...state.table.elsewhere.map(title => ({key: title, head: title,
    value: row => row.elsewhere[title] ? parseFloat(row.elsewhere[title].replaceAll(",", "")) : null,
    cell: row => row.elsewhere[title] || "-"}))];
  const column = key => columns().find(one => one.key === key);
  const href = row => `row.html#${state.table.id}/${row.place}`;

  function choose(select, values, wanted, names) {
    select.replaceChildren(...values.map(value => el("option", {value}, names ? names[value] : value)));
    select.value = values.includes(wanted) ? wanted : values[0];
  }

  // Each choice narrows the next, so that what is chosen is always one table.
  function narrow(wanted) {
    let left = tables;
    for (const key of KEYS) {
      choose(at(key), [...new Set(left.map(table => table[key]))].sort(), wanted[key]);
      left = left.filter(table => table[key] === at(key).value);
    }
    const ordered = left.slice().sort((a, b) => b.runs - a.runs || (a.id < b.id ? -1 : 1));
    choose(at("allowance"), ordered.map(table => table.id), wanted.id, Object.fromEntries(ordered.map(table =>
      [table.id, `${table.allowance}, ${table.space}, ${table.runs} runs`])));
    at("allowance-label").hidden = left.length < 2;
    return at("allowance").value;
  }

  async function open(id) {
    try {
      state.table = await load("table", id);
    } catch (error) {
      at("said").textContent = "This table cannot be shown: " + error.message;
      return;
    }
    const table = state.table;
    table.rows.forEach((row, place) => { row.place = place; });
    if (!column(state.sort)) state.sort = "quality";
    const heads = columns();
    choose(at("sort"), heads.map(one => one.key), state.sort, Object.fromEntries(heads.map(one => [one.key, one.head])));
    choose(at("metric"), Object.keys(table.metrics), at("metric").value, table.metrics);
    state.looks = chart.looks(table.rows.filter(row => row.compared));
    state.steps = [...new Set(table.rows.map(along).filter(has))].sort((a, b) => a - b);
    at("limit-name").textContent = `Limit (${table.axis.name})`;
    list("notices", table.notices);
    at("notices").hidden = !table.notices.length;
    at("limit").max = Math.max(0, state.steps.length - 1);
    at("limit").value = at("limit").max;
    at("limit").disabled = state.steps.length < 2;
    at("table-title").textContent = table.title;
    const about = tables.find(entry => entry.id === id);
    at("facts").textContent = `${about.runs} runs of ${about.methods} methods; allowance a run: ${about.allowance}`;
    const names = {csv: "CSV", "test_sets.csv": "CSV by test set", tex: "LaTeX", parquet: "Parquet"};
    at("downloads").replaceChildren("Download this table: ", ...Object.entries(table.downloads).flatMap(([kind, path], i) =>
      [i ? ", " : "", el("a", {href: path, download: ""}, names[kind])]));
    const picture = table.pictures.performance;
    at("profiles").hidden = !picture;
    at("profiles").querySelector(".picture").replaceChildren(
      ...(picture ? [el("img", {src: picture.path, alt: picture.alternative})] : []));
    const others = Object.entries(table.pictures).filter(([name]) => name !== "performance");
    at("pictures").hidden = !others.length;
    at("pictures").querySelector(".picture").replaceChildren(
      ...others.map(([, other]) => el("img", {src: other.path, alt: other.alternative})));
    list("notes", table.notes);
    list("troubles", table.troubles);
    at("troubles-title").hidden = !table.troubles.length;
    at("signatures").replaceChildren(...Object.entries(table.signatures).flatMap(([name, text]) =>
      [el("dt", {}, name), el("dd", {}, el("code", {}, text))]));
    plain("comparisons", table.comparisons);
    at("against").hidden = !table.comparisons.length;
    location.replace("#" + id);
    filter();
  }

  const list = (id, texts) => at(id).replaceChildren(...texts.map(text => el("li", {}, text)));

  function plain(id, lines) {
    const heads = lines.length ? Object.keys(lines[0]) : [];
    const side = head => ({class: ["method", "difference in", "limit", "verdict"].includes(head) ? "left" : ""});
    at(id).tHead.replaceChildren(el("tr", {}, ...heads.map(head => el("th", {scope: "col", ...side(head)}, head))));
    at(id).tBodies[0].replaceChildren(...lines.map(line => el("tr", {}, ...heads.map((head, i) =>
      el(i ? "td" : "th", i ? side(head) : {scope: "row"}, String(line[head]))))));
  }

  function filter() {
    const text = at("search").value.trim().toLowerCase();
    const answer = at("verified").value;
    state.rows = state.table.rows.filter(row => row.method.toLowerCase().includes(text)
      && (answer === "any" || row.verified.startsWith(answer)));
    const methods = new Set(state.rows.map(row => row.method));
    chart.legend(at("legend"), new Map([...state.looks].filter(([method]) => methods.has(method))));
    at("details").textContent = "";
    plot();
    bySet();
    limited();
  }

  // The chosen metric on each test set, and fine-tuned copies on every task; the rows that are left by the filters.
  function bySet() {
    const shown = (id, one) => {
      at(id).closest(".scroll").hidden = !one;
      if (!one) return;
      at(id + "-caption").textContent = `${one.name} on each ${id === "sets" ? "test set" : "task"}, made as ${one.signature}`;
      plain(id, state.rows.filter(row => one.rows[row.place]).map(row => ({method: row.method, "limit": limit(row),
        ...Object.fromEntries(one.sets.map((name, i) => [name, one.rows[row.place][i]]))})));
    };
    const {sets} = state.table, all = [["sets", sets[at("metric").value]], ["tuned", sets["fine-tuned"]],
      ["tuned-paired", sets["fine-tuned, paired"]]];
    at("by-set").hidden = !all.some(([, one]) => one);
    for (const [id, one] of all) shown(id, one);
  }

  function plot() {
    const name = state.table.metrics[at("metric").value] || "Quality";
    mark = chart.draw(at("plot"), state.rows, {metric: at("metric").value, metricName: name, looks: state.looks, axis: state.table.axis,
      href, details: at("details"), label: `Scatter plot of ${name} against ${state.table.axis.label}, one mark for each row`});
    if (mark) mark(state.most);
  }

  function limited() {
    const place = Number(at("limit").value), all = place >= state.steps.length - 1;
    state.most = all ? Infinity : state.steps[place];
    const text = !state.steps.length ? "nothing was timed" : all ? "none" : sig(state.most) + " " + state.table.axis.unit;
    at("limit-text").textContent = text;
    at("limit").setAttribute("aria-valuetext", all ? "no limit" : "at most " + text);
    if (mark) mark(state.most);
    state.page = 0;
    rows();
  }

  function rows() {
    const by = column(state.sort), sign = state.down ? -1 : 1;
    const shown = state.rows.filter(row => state.most === Infinity || (has(along(row)) && along(row) <= state.most));
    shown.sort((a, b) => {
      const [x, y] = [by.value(a), by.value(b)];
      if (!has(x) || !has(y)) return has(y) - has(x) || a.place - b.place;
      return (x < y ? -sign : x > y ? sign : 0) || a.place - b.place;
    });
    const table = at("rows"), name = state.table.metrics[at("metric").value] || "Quality";
    table.tHead.replaceChildren(el("tr", {}, ...columns().map(one => {
      const button = el("button", {type: "button", "data-key": one.key}, one.key === "quality" ? name + " [95 %]" : one.head);
      const sorted = one.key === state.sort ? {"aria-sort": state.down ? "descending" : "ascending"} : {};
      return el("th", {scope: "col", class: one.left ? "left" : "", ...sorted}, button);
    })));
    const pages = Math.max(1, Math.ceil(shown.length / ROWS));
    const part = shown.slice(state.page * ROWS, (state.page + 1) * ROWS);
    table.tBodies[0].replaceChildren(...part.map(row => el("tr", {}, ...columns().map((one, i) => i
      ? el("td", {class: (one.left ? "left" : "") + (["status", "verified"].includes(one.key) ? " words" : "")}, one.cell(row))
      : el("th", {scope: "row", class: "left"}, el("a", {href: href(row)}, row.method))))));
    at("table-caption").textContent = `${state.table.title}: best first by ${by.key === "quality" ? name : by.head}`
      .replace("best first", state.down ? "highest first" : "lowest first") + "; a method's name opens its row";
    at("pages").hidden = pages < 2;
    at("page").textContent = `page ${state.page + 1} of ${pages}`;
    at("previous").disabled = state.page === 0;
    at("next").disabled = state.page >= pages - 1;
    at("sort").value = state.sort;
    const best = shown.reduce((a, row) => row.compared && score(row) && has(score(row)[0]) && (!a || score(row)[0] > score(a)[0]) ? row : a, null);
    at("said").textContent = `${shown.length} of ${state.table.rows.length} rows`
      + (best ? `; highest ${name}: ${best.method}, ${interval(score(best))}, ${measured(best, "ratio", 2)} x reference` : "");
  }

  function sort(key) {
    state.down = key === state.sort ? !state.down : Boolean(column(key).down);
    state.sort = key;
    state.page = 0;
    rows();
  }

  function turn(by) {
    state.page += by;
    rows();
    at("rows").closest(".scroll").focus();
  }

  at("verified").append(...ANSWERS.map(answer => el("option", {value: answer}, answer)));
  at("filters").addEventListener("submit", event => event.preventDefault());
  for (const key of KEYS) at(key).addEventListener("change", () =>
    open(narrow(Object.fromEntries(KEYS.map(name => [name, at(name).value])))));
  at("allowance").addEventListener("change", () => open(at("allowance").value));
  at("metric").addEventListener("change", filter);
  at("verified").addEventListener("change", filter);
  at("search").addEventListener("input", filter);
  at("limit").addEventListener("input", limited);
  at("sort").addEventListener("change", () => sort(at("sort").value));
  at("rows").tHead.addEventListener("click", event => {
    const key = event.target.dataset.key;
    if (!key) return;
    sort(key);
    at("rows").tHead.querySelector(`[data-key="${key}"]`).focus();
  });
  at("previous").addEventListener("click", () => turn(-1));
  at("next").addEventListener("click", () => turn(1));
  let width = 0;
  new ResizeObserver(() => {
    if (state.table && at("plot").clientWidth !== width) plot();
    width = at("plot").clientWidth;
  }).observe(at("plot"));

  if (!tables.length) {
    at("said").textContent = "There are no result records yet.";
    at("filters").hidden = true;
    document.querySelectorAll("main section").forEach(part => { part.hidden = true; });
  } else {
    open(narrow(tables.find(table => "#" + table.id === location.hash)
      || tables.slice().sort((a, b) => b.runs - a.runs || (a.id < b.id ? -1 : 1))[0]));
  }
})();
