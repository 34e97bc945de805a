// The overview: which table, which of its rows and columns, in which view; every choice stands in the address.
"use strict";

(() => {
  const {el, has, sig, interval, measured, unmarked, markNote, limit, load, open, complete, address, tradeoff, otherViews, grid, columns: columnSet} = supernetBench;
  const at = id => document.getElementById(id);
  const {tables, headline} = supernetBench.list();
  const KEYS = ["task", "tier", "profile"], VIEWS = ["trade-off", "any-time", "break-even", "win-rate"];
  const ANSWERS = ["any", "quality reproduces", "quality does not reproduce", "quality cannot tell", "self-reported"];
  const state = {table: null, below: null, views: null, chosen: null, view: VIEWS[0], most: Infinity, rows: [], steps: [], hidden: new Set()};
  let mark = null;

  const metric = () => at("metric").value;
  const score = row => row.scores[metric()];
  const along = row => has(row[state.table.axis.key]) ? row[state.table.axis.key] * state.table.axis.scale : null;
  const href = row => `row.html#${state.table.id}/${row.place}`;
  const columns = columnSet.make({metric, table: () => state.table, href});
  const main = grid.make(at("rows"), {name: "the table", sort: "quality", down: true, every: columns.every,
    row: row => ({class: row.over > 0.005 ? "beyond-limit" : null}), changed: remember});
  const below = {sets: grid.plain(at("sets"), "test sets"), tuned: grid.plain(at("tuned"), "fine-tuned copies"),
    "tuned-paired": grid.plain(at("tuned-paired"), "fine-tuned copies, paired"), comparisons: grid.plain(at("comparisons"), "differences")};

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
    // Tables of other settings or data alone have the same facts: their titles tell them apart.
    const facts = table => `${table.allowance}, ${table.space}`, others = table => ordered.filter(one => facts(one) === facts(table)).length > 1;
    choose(at("allowance"), ordered.map(table => table.id), wanted.id, Object.fromEntries(ordered.map(table =>
      [table.id, `${others(table) ? table.title + ": " : ""}${facts(table)}, ${table.runs} runs`])));
    at("allowance-label").hidden = left.length < 2;
    return at("allowance").value;
  }

  const shownColumns = () => columns.every().filter(one => state.chosen.includes(one.key));

  async function show(id, choices) {
    const table = await open(id);
    Object.assign(state, {table, below: null, views: null, most: Infinity});
    const about = tables.find(entry => entry.id === id), get = name => choices.get(name);
    choose(at("metric"), Object.keys(table.metrics), get("metric"), table.metrics);
    at("search").value = get("q") || "";
    at("verified").value = ANSWERS.includes(get("verified")) ? get("verified") : ANSWERS[0];
    state.hidden = new Set(choices.getAll("hide"));
    state.view = VIEWS.includes(get("view")) ? get("view") : VIEWS[0];
    const known = columns.every().map(one => one.key), asked = choices.getAll("col").filter(key => known.includes(key));
    state.chosen = asked.length ? ["method", ...asked] : columns.usual();
    main.state.sort = known.includes(get("sort")) ? get("sort") : "quality";
    main.state.down = get("order") ? get("order") === "down" : main.state.sort === "quality";
    main.state.page = Math.max(0, (Number(get("page")) || 1) - 1);
    state.steps = [...new Set(table.rows.map(along).filter(has))].sort((a, b) => a - b);
    at("limit-name").textContent = `Limit (${table.axis.name})`;
    at("limit").max = Math.max(0, state.steps.length - 1);
    const most = Number(get("limit"));
    const step = get("limit") ? state.steps.findLastIndex(value => value <= most * 1.0001) : -1;
    at("limit").value = step >= 0 ? step : at("limit").max;
    at("limit").disabled = state.steps.length < 2;
    at("table-title").textContent = table.title;
    at("meaning").textContent = about.sentence;
    at("facts").textContent = `${about.runs} runs of ${about.methods} methods; allowance a run: ${about.allowance}`;
    list("notices", table.notices);
    at("notices").closest("details").hidden = !table.notices.length;
    const partial = Object.keys(table.metrics).length > 0 && metric() !== table.metric || state.chosen.some(key => !columns.first.has(key)) || !columns.first.has(main.state.sort);
    if (partial) await complete(table);
    choose(at("sort"), known, main.state.sort, Object.fromEntries(columns.every().map(one => [one.key, one.head])));
    chooser();
    const page = main.state.page;
    filter(page);
    setTimeout(() => details(table).catch(failed), 0);
  }

  // What stands below the first screen, and the columns that are not shown at first.
  async function details(table) {
    state.below = await load("below", table.id + "-below");
    if (state.table !== table) return;
    const part = state.below, names = {csv: "CSV", "test_sets.csv": "CSV by test set", tex: "LaTeX", parquet: "Parquet"};
    at("downloads").replaceChildren("Download this table: ", ...Object.entries(part.downloads).flatMap(([kind, path], i) =>
      [i ? ", " : "", el("a", {href: path, download: ""}, names[kind])]));
    at("profiles").hidden = !part.pictures.performance;
    const image = one => el("img", {src: one.path, alt: one.alternative});
    at("profiles").querySelector(".picture").replaceChildren(...(part.pictures.performance ? [image(part.pictures.performance)] : []));
    const others = Object.entries(part.pictures).filter(([name]) => name !== "performance");
    at("pictures").hidden = !others.length;
    at("pictures").querySelector(".picture").replaceChildren(...others.map(([, one]) => image(one)));
    list("notes", part.notes);
    list("troubles", part.troubles);
    at("troubles-title").hidden = !part.troubles.length;
    at("signatures").replaceChildren(...Object.entries(part.signatures).flatMap(([name, text]) =>
      [el("dt", {}, name), el("dd", {}, el("code", {}, text))]));
    belowTables();
    if (table.rows.length <= 2 * table.rows_a_file) await complete(table);
  }

  const list = (id, texts) => at(id).replaceChildren(...texts.map(text => el("li", {}, text)));
  const failed = error => { at("said").textContent = "This table cannot be shown: " + error.message; };

  function chooser() {
    columnSet.chooser(at("chooser"), columns.every(), state.chosen, async keys => {
      state.chosen = keys;
      await complete(state.table).catch(failed);
      rows();
      remember();
    });
  }

  function filter(page = 0) {
    const text = at("search").value.trim().toLowerCase(), answer = at("verified").value;
    state.found = state.table.rows.filter(row => row.method.toLowerCase().includes(text)
      && (answer === "any" || row.verified.startsWith(answer)));
    state.rows = state.found.filter(row => !state.hidden.has(row.method));
    limited(page);
    // The rows of a large table are seen before its chart is drawn.
    const rest = () => { plot().catch(failed); legend(); belowTables(); };
    if (state.table.rows.length > 1000) setTimeout(rest, 30); else rest();
  }

  const plain = text => ({method: text.method, "limit": limit(text)});
  // The chosen metric on each test set, fine-tuned copies, and differences; of the rows that are left by the filters.
  function belowTables() {
    if (!state.below) return;
    const {sets, comparisons} = state.below, words = ["method", "difference in", "limit", "verdict"];
    const all = [["sets", sets[metric()]], ["tuned", sets["fine-tuned"]], ["tuned-paired", sets["fine-tuned, paired"]]];
    at("by-set").hidden = !all.some(([, one]) => one);
    for (const [id, one] of all) {
      at(id).closest(".scroll").hidden = !one;
      if (one) at(id + "-caption").textContent = `${one.name} on each ${id === "sets" ? "test set" : "task"}, made as ${one.signature}`;
      below[id](one ? state.rows.filter(row => one.rows[row.place]).map(row => ({...plain(row),
        ...Object.fromEntries(one.sets.map((name, i) => [name, one.rows[row.place][i]]))})) : [], words);
    }
    const left = new Set(state.rows.map(row => row.method));
    below.comparisons(comparisons.filter(line => left.has(line.method)), words);
    at("against").hidden = !comparisons.length;
  }

  async function plot() {
    const table = state.table, name = table.metrics[metric()] || "Quality", view = state.view;
    document.querySelectorAll("#views button").forEach(one => one.setAttribute("aria-pressed", one.value === view));
    at("limit-label").hidden = view !== "trade-off";
    at("details").textContent = "";
    const captions = {"trade-off": "Quality against what networks were asked to keep to, with 95 % intervals; crossed: over its limit. Dashed: the best of all. Arrow keys go from point to point, Enter opens a row.",
      "any-time": "How good the proposals so far were, while the budget was spent.",
      "break-even": "When many targets share one search, its cost is shared, too.", "win-rate": "Every method against every other, at equal seed and limit."};
    at("plot-caption").textContent = captions[view];
    mark = null;
    if (view === "trade-off") {
      mark = tradeoff.draw(at("plot"), state.rows, {metric: metric(), metricName: name, axis: table.axis, href, details: at("details"),
        label: `Scatter plot of ${name} against ${table.axis.label}, one mark for each row`});
      if (mark) mark(state.most);
      return;
    }
    state.views = state.views || await load("views", table.id + "-views");
    if (state.table !== table || state.view !== view) return;
    const shown = new Set(state.rows.map(row => row.method));
    if (view === "any-time") otherViews.anyTime(at("plot"), state.views.any_time, shown, name);
    if (view === "break-even") otherViews.breakEven(at("plot"), state.views.break_even, shown);
    if (view === "win-rate") otherViews.winRates(at("plot"), state.views.win_rates, shown);
  }

  // The methods that have a mark in the chart; pressing one hides or shows its rows.
  function legend() {
    const methods = [...new Set(tradeoff.drawn(state.found, {metric: metric(), axis: state.table.axis}).map(row => row.method))];
    const MOST = 24, shown = methods.slice(0, MOST);
    at("legend").replaceChildren(...shown.map(method => {
      const button = el("button", {type: "button", "aria-pressed": String(!state.hidden.has(method))}, supernetBench.icon(method), " " + method);
      button.addEventListener("click", () => {
        if (!state.hidden.delete(method)) state.hidden.add(method);
        const place = shown.indexOf(method);
        filter();
        remember();
        at("legend").querySelectorAll("button")[place]?.focus();
      });
      return el("li", {}, button);
    }), ...(methods.length > MOST ? [el("li", {}, `and ${methods.length - MOST} more: point at a mark`)] : []));
  }

  function limited(page = 0) {
    const place = Number(at("limit").value), all = place >= state.steps.length - 1;
    state.most = all ? Infinity : state.steps[place];
    const text = !state.steps.length ? "nothing was timed" : all ? "none" : sig(state.most) + " " + state.table.axis.unit;
    at("limit-text").textContent = text;
    at("limit").setAttribute("aria-valuetext", all ? "no limit" : "at most " + text);
    if (mark) mark(state.most);
    main.state.page = page;
    rows();
    remember();
  }

  function rows() {
    const shown = state.rows.filter(row => state.most === Infinity || (has(along(row)) && along(row) <= state.most));
    const name = state.table.metrics[metric()] || "Quality";
    at("results").classList.toggle("wide-table", shownColumns().length > 7);
    main.show(shown, shownColumns());
    caption();
    // Of what was searched for a limit and keeps it, where there is any.
    const scored = shown.filter(row => row.compared && score(row) && has(score(row)[0]));
    const aimed = scored.filter(row => has(row.limit) && row.limit !== "none"), keeping = aimed.filter(row => !(row.over > 0.005));
    const best = [keeping, aimed, scored].find(some => some.length)?.reduce((a, row) => score(row)[0] > score(a)[0] ? row : a);
    at("said").textContent = `${shown.length} of ${state.table.rows.length} rows`
      + (best ? `; highest ${name}${keeping.length ? " within its limit" : ""}: ${best.method}, ${unmarked(interval(score(best)))}, ${unmarked(measured(best, "ratio", 2))} x reference` : "");
  }

  function caption() {
    const by = columns.every().find(one => one.key === main.state.sort);
    at("table-caption").textContent = `${main.state.down ? "Highest" : "Lowest"} first by ${by ? by.head : "place"}; a method's name opens its row${markNote(state.table)}`;
    at("sort").value = main.state.sort;
  }

  // Every choice into the address, so that it can be sent to somebody.
  function remember() {
    if (!state.table) return;
    caption();
    const by = main.state, usual = columns.usual(), same = usual.length === state.chosen.length && usual.every(key => state.chosen.includes(key));
    const choices = [["metric", metric() === Object.keys(state.table.metrics)[0] ? null : metric()], ["sort", by.sort === "quality" ? null : by.sort],
      ["order", by.down === (by.sort === "quality") ? null : by.down ? "down" : "up"], ["page", by.page ? by.page + 1 : null],
      ["limit", state.most === Infinity ? null : Number(state.most.toPrecision(6))], ["q", at("search").value.trim()],
      ["verified", at("verified").value === ANSWERS[0] ? null : at("verified").value], ["view", state.view === VIEWS[0] ? null : state.view],
      ...(same ? [] : state.chosen.filter(key => key !== "method").map(key => ["col", key])), ...[...state.hidden].map(method => ["hide", method])];
    address.write(state.table.id, choices);
  }

  // Links to all that belongs to the board, and the claims with their counts.
  function glance() {
    const {links, claims} = supernetBench.list();
    at("links").append(...links.map(([name, target]) => el("a", {href: target}, name)));
    const total = Object.values(claims).reduce((sum, count) => sum + count, 0);
    if (total) at("glance").append(el("a", {href: "claims.html"}, `${total} claims, the papers' and our own:`), ...Object.entries(claims).map(([verdict, count]) =>
      el("a", {href: "claims.html#&verdict=" + encodeURIComponent(verdict), class: "verdict " + verdict.replace(" ", "-")}, `${count} ${verdict}`)));
  }

  function start() {
    const {what, choices} = address.read();
    const wanted = tables.find(table => table.id === what) || tables.find(table => table.id === headline);
    show(narrow(wanted), wanted.id === what ? choices : new URLSearchParams()).catch(failed);
  }

  at("verified").append(...ANSWERS.map(answer => el("option", {value: answer}, answer)));
  at("views").append(...VIEWS.map(view => el("button", {type: "button", value: view, "aria-pressed": "false"}, view)));
  at("filters").addEventListener("submit", event => event.preventDefault());
  const fresh = () => new URLSearchParams(state.view === VIEWS[0] ? "" : "view=" + state.view);
  for (const key of KEYS) at(key).addEventListener("change", () =>
    show(narrow(Object.fromEntries(KEYS.map(name => [name, at(name).value]))), fresh()).catch(failed));
  at("allowance").addEventListener("change", () => show(at("allowance").value, fresh()).catch(failed));
  at("metric").addEventListener("change", () => complete(state.table).then(() => filter()).catch(failed));
  at("verified").addEventListener("change", () => filter());
  at("search").addEventListener("input", () => filter());
  at("limit").addEventListener("input", () => limited());
  at("sort").addEventListener("change", () => complete(state.table).then(() => main.sort(at("sort").value)).catch(failed));
  at("all-columns").addEventListener("click", () => complete(state.table).then(() => {
    state.chosen = columns.every().map(one => one.key);
    chooser(); rows(); remember();
  }).catch(failed));
  at("usual-columns").addEventListener("click", () => { state.chosen = columns.usual(); chooser(); rows(); remember(); });
  at("views").addEventListener("click", event => {
    if (!event.target.value) return;
    state.view = event.target.value;
    plot().catch(failed);
    remember();
  });
  window.addEventListener("hashchange", start);
  let width = 0;
  new ResizeObserver(() => {
    const now = at("plot").clientWidth;  // zero while the page is not laid out
    if (state.table && width && now && now !== width) plot().catch(failed);
    width = now || width;
  }).observe(at("plot"));
  document.body.prepend(supernetBench.sides());
  glance();
  at("filter-box").open = window.innerWidth > 640;

  if (!tables.length) {
    at("said").textContent = "There are no result records yet.";
    document.querySelectorAll("main section, #filter-box").forEach(part => { part.hidden = true; });
  } else start();
})();
