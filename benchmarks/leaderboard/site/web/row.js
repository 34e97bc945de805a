// A row's page: its figures, and every run behind it with the commands and the whole provenance.
"use strict";

(() => {
  const {el, has, fixed, sig, interval, measured, limit, load} = supernetBench;
  const at = id => document.getElementById(id);
  const MARKS = {"reproduces": "supported", "does not reproduce": "refuted", "cannot tell": "undecided"};

  const short = value => String(typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(6)) : value);

  // Nested data as nested definition lists; what is empty says so.
  function shown(value) {
    if (value === null || value === undefined || value === "") return "none";
    if (Array.isArray(value) && value.every(item => typeof item !== "object")) return value.map(short).join(" ") || "none";
    if (typeof value !== "object") return short(value);
    const entries = Object.entries(value);
    return entries.length ? facts(entries) : "none";
  }
  const facts = entries => el("dl", {class: "facts"}, ...entries.map(([name, value]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, shown(value)))));
  const command = text => el("pre", {tabindex: "0"}, el("code", {}, text));
  const folded = (title, value) => el("details", {}, el("summary", {}, title), shown(value));

  // One second run: its answer, when, where, what differed, and every figure that was compared.
  function verdict(one) {
    const list = (title, texts) => texts.length ? [el("p", {}, title), el("ul", {}, ...texts.map(text => el("li", {}, text)))] : [];
    return el("div", {class: "again"}, el("p", {class: "verdict " + MARKS[one.quality]}, one.answer),
      facts([["on", one.date], ["where", one.machine], ["what differed", one.differing]]),
      ...list("Because:", one.reasons), ...list("Compared:", one.checks));
  }

  function part(run, made, row) {
    const id = "run-" + run.id;
    const candidate = run.candidates.find(one => one.limit === row.limit);
    return el("section", {"aria-labelledby": id},
      el("h2", {id}, `${row.method}, seed ${run.spec.seed}: ${run.status}`),
      run.message ? el("p", {class: "trouble"}, run.message) : null,
      el("h3", {}, "Does it reproduce?"),
      ...(run.verdicts.length ? run.verdicts.map(verdict) : [el("p", {class: "verdict open"}, "self-reported: no verdict of a re-run")]),
      el("p", {}, "Run it again and compare:"), command(run.verify),
      el("p", {}, "Make a run like it:"), command(run.again),
      el("p", {}, "As it was typed:"), command(run.command || "not recorded"),
      el("h3", {}, "What was found"),
      candidate ? folded("The candidate: architecture, scores on every test set, latency, cost", candidate)
        : el("p", {}, "This run has no candidate at this limit."),
      ...run.elsewhere.map(one => folded("Timed elsewhere: " + one.what, one)),
      folded("What the run spent", {...run.totals, ...(run.cpu ? {"processor seconds": run.cpu} : {}), energy: run.energy}),
      el("h3", {}, "What it was made from"),
      facts([["record", run.path], ["id", run.id], ["digest", run.digest], ["seal", run.seal],
        ["started", run.started], ["ended", run.ended]]),
      folded("The specification", run.spec), folded("Provenance: code, versions, data, machine", made));
  }

  // The row's scores on each test set, a line for each metric.
  function bySet(table, place) {
    const there = Object.entries(table.sets).filter(([, one]) => one.rows[place]);
    if (!there.length) return [];
    const names = [...new Set(there.flatMap(([, one]) => one.sets))];
    const head = text => el("th", {scope: "col"}, text);
    return [el("div", {class: "scroll", tabindex: "0", role: "region", "aria-labelledby": "sets-caption"}, el("table", {},
      el("caption", {id: "sets-caption"}, "On each test set"),
      el("thead", {}, el("tr", {}, el("th", {scope: "col", class: "left"}, "metric"), ...names.map(head),
        el("th", {scope: "col", class: "left"}, "made as"))),
      el("tbody", {}, ...there.map(([, one]) => el("tr", {}, el("th", {scope: "row", title: one.name}, one.name),
        ...names.map(name => el("td", {}, one.sets.includes(name) ? one.rows[place][one.sets.indexOf(name)] : "-")),
        el("td", {class: "left"}, el("code", {}, one.signature)))))))];
  }

  async function open() {
    const [id, place] = location.hash.slice(1).split("/");
    if (!/^[0-9a-f]{12}$/.test(id || "") || !/^\d+$/.test(place || "")) throw new Error("the address names no row");
    const table = await load("table", id);
    const row = table.rows[Number(place)];
    if (!row) throw new Error("the table has no row " + place);
    at("back").href = "index.html#" + id;
    at("title").textContent = `${row.method}, limit ${limit(row)}`;
    document.title = `${row.method} - supernet-bench leaderboard`;
    const figures = Object.entries(table.metrics).map(([key, name]) => [name, interval(row.scores[key], 2)]);
    const summary = el("section", {"aria-labelledby": "summary"}, el("h2", {id: "summary"}, "The row"),
      el("p", {}, `${table.title}. ${row.status}.`),
      el("p", {}, "Run again: ", el("strong", {}, row.verified)),
      facts([...figures, ["p50 latency, ms", measured(row, "p50", "sig")],
        ["p90 latency, ms", measured(row, "p90", "sig")], ["times the reference network", measured(row, "ratio", 3)],
        ["validation loss, nats/token", measured(row, "valid_loss", 3)], ["peak memory, MB", measured(row, "peak_bytes", 1, 1e-6)], ["parameters, millions", fixed(row.params, 2, 1e-6)],
        ["MMACs", sig(has(row.macs) ? row.macs / 1e6 : null)], ["tokens, % of the allowance", measured(row, "tokens", 1, 100)],
        ["validation evaluations, %", measured(row, "evaluations", 1, 100)], ["latency probes, %", measured(row, "probes", 1, 100)],
        ["search, seconds", measured(row, "seconds", "sig")], ["energy, kJ", measured(row, "joules", 1, 1e-3)],
        ...Object.entries(row.elsewhere), ["energy from", row.sources], ["weights", row.origin], ["seeds", row.seeds]]),
      el("p", {class: "soft"}, "Brackets hold 95 % intervals: over seeds; marked s, over the test items, and marked t,"
        + " over the timings of the one run there is. What is counted has none, nor what does not differ between seeds."),
      ...bySet(table, Number(place)),
      folded("The allowance and what the table's runs share", table.shared));
    const files = [...new Set(row.runs.map(run => Math.floor(run / table.runs_a_file)))];
    const loaded = new Map();
    for (const file of files) loaded.set(file, await load("runs", "runs-" + file));
    const runs = row.runs.map(run => {
      const file = loaded.get(Math.floor(run / table.runs_a_file));
      const found = file.runs[run % table.runs_a_file];
      return part(found, file.made[found.made], row);
    });
    at("said").textContent = `${runs.length} run${runs.length === 1 ? "" : "s"} behind this row`;
    at("row").replaceChildren(at("said"), summary, ...runs);
  }

  const show = () => open().catch(error => { at("said").textContent = "Nothing to show: " + error.message; });
  window.addEventListener("hashchange", show);
  show();
})();
