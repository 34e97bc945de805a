// A row's page: its figures, and every run behind it with the commands and the whole provenance.
"use strict";

(() => {
  const {el, has, fixed, sig, interval, measured, unmarked, limit, load, complete, trace} = supernetBench;
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

  const link = ([name, target]) => target ? el("a", {href: target}, name) : el("code", {}, name);
  const linked = entries => el("dl", {class: "facts"}, ...entries.filter(([, value]) => value).map(([name, value]) =>
    el("div", {}, el("dt", {}, name), el("dd", {}, Array.isArray(value) ? link(value) : value))));

  function part(run, made, row, table) {
    const id = "run-" + run.id;
    const candidate = run.candidates.find(one => one.limit === row.limit);
    const whole = el("details", {class: "run"}, el("summary", {}, el("h2", {id}, `${row.method}, seed ${run.spec.seed}: ${run.status}`)),
      run.message ? el("p", {class: "trouble"}, run.message) : null,
      linked([["record", run.links.record], ["source of the method", run.links.method], ["code that ran it", run.links.code],
        ["isolation of the method", run.isolation], ["run by", run.run_by], ["started", run.started], ["ended", run.ended]]),
      el("h3", {}, "Does it reproduce?"),
      ...(run.verdicts.length ? run.verdicts.map(verdict) : [el("p", {class: "verdict open"}, "self-reported: no verdict of a re-run")]),
      el("p", {}, "Run it again and compare:"), command(run.verify),
      el("p", {}, "Make a run like it:"), command(run.again),
      el("details", {}, el("summary", {}, "As it was typed"), command(run.command || "not recorded")),
      el("h3", {}, "Trace of the run"), ...trace.draw(run, table.loss_unit),
      el("h3", {}, "What was found"),
      candidate ? folded("The candidate: architecture, scores on every test set, latency, cost", candidate)
        : el("p", {}, "This run has no candidate at this limit."),
      ...run.elsewhere.map(one => folded("Timed elsewhere: " + one.what, one)),
      folded("What the run spent", {...run.totals, ...(run.cpu ? {"processor seconds": run.cpu} : {}), energy: run.energy}),
      el("h3", {}, "What it was made from"),
      facts([["record", run.path], ["id", run.id], ["digest", run.digest], ["seal", run.seal]]),
      folded("The specification", run.spec), folded("Provenance: code, versions, data, machine", made));
    return el("section", {"aria-labelledby": id}, whole);
  }

  // The row's scores on each test set, a line for each metric.
  function bySet(sets, place) {
    const there = Object.entries(sets).filter(([, one]) => one.rows[place]);
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

  // What the row is, in one sentence.
  function sentence(table, row) {
    const metric = table.metric, score = row.scores[metric], name = table.metrics[metric];
    const got = score && has(score[0]) ? `${name} ${unmarked(interval(score))}` + (has(row.ratio) ? ` at ${unmarked(measured(row, "ratio", 2))} times the latency of the reference network` : "") : "no network that was scored";
    return `${row.method} under the limit ${limit(row)} on ${table.title}: ${got}, from ${row.n} run${row.n === 1 ? "" : "s"}; ${row.status}.`;
  }

  async function open() {
    const [id, place] = location.hash.slice(1).split("/");
    if (!/^[0-9a-f]{12}$/.test(id || "") || !/^\d+$/.test(place || "")) throw new Error("the address names no row");
    const table = await supernetBench.open(id);
    const row = table.rows[Number(place)];
    if (!row) throw new Error("the table has no row " + place);
    await complete(table, Number(place));
    const {sets} = await load("below", id + "-below");
    at("back").href = "index.html#" + id;
    at("title").replaceChildren(supernetBench.icon(row.method), ` ${row.method}, limit ${limit(row)}`);
    document.title = `${row.method} - supernet-bench leaderboard`;
    const figures = Object.entries(table.metrics).map(([key, name]) => [name, interval(row.scores[key], 2)]);
    const summary = el("section", {"aria-labelledby": "summary"}, el("h2", {id: "summary"}, "The row"),
      el("p", {}, sentence(table, row)),
      ...(row.runs.length ? [] : [el("p", {}, "No run stands behind this row.")]),
      el("p", {}, "Run again: ", el("strong", {}, row.verified), "; verified by the method's authors: ", el("strong", {}, row.authors),
        "; run by: ", el("strong", {}, row.run_by)),
      facts([...figures, ["p50 latency, ms", measured(row, "p50", "sig")],
        ["p90 latency, ms", measured(row, "p90", "sig")], ["times the reference network", measured(row, "ratio", 3)],
        ["validation loss, nats/token", measured(row, "valid_loss", 3)], ["peak memory, MB", measured(row, "peak_bytes", 1, 1e-6)], ["parameters, millions", fixed(row.params, 2, 1e-6)],
        ["MMACs", sig(has(row.macs) ? row.macs / 1e6 : null)], ["tokens, % of the allowance", measured(row, "tokens", 1, 100)],
        ["validation evaluations, %", measured(row, "evaluations", 1, 100)], ["latency probes, %", measured(row, "probes", 1, 100)],
        ["updates in all trainings", sig(row.updates)],
        ["search, seconds", measured(row, "seconds", "sig")], ["energy, kJ", measured(row, "joules", 1, 1e-3)],
        ...Object.entries(row.elsewhere), ["energy from", row.sources], ["weights", row.origin], ["precision", row.precision], ["seeds", row.seeds]]),
      el("p", {class: "soft"}, "Brackets hold 95 % intervals: over seeds; marked s, over the test items, and marked t,"
        + " over the timings of the one run there is. What is counted has none, nor what does not differ between seeds."),
      ...bySet(sets, Number(place)),
      folded("The allowance and what the table's runs share", table.shared));
    const files = [...new Set(row.runs.map(run => Math.floor(run / table.runs_a_file)))];
    const loaded = new Map();
    for (const file of files) loaded.set(file, await load("runs", "runs-" + file));
    const first = row.runs[0];
    if (has(first)) summary.querySelector("dl").before(el("p", {}, "Run it again and compare:"),
      command(loaded.get(Math.floor(first / table.runs_a_file)).runs[first % table.runs_a_file].verify));
    const runs = row.runs.map(run => {
      const file = loaded.get(Math.floor(run / table.runs_a_file));
      const one = file.runs[run % table.runs_a_file];
      return part(one, file.made[one.made], row, table);
    });
    at("said").textContent = `${runs.length} run${runs.length === 1 ? "" : "s"} behind this row`;
    at("row").replaceChildren(at("said"), summary, ...runs);
    if (runs.length) runs[0].querySelector("details").open = true;
  }

  const show = () => open().catch(error => { at("said").textContent = "Nothing to show: " + error.message; });
  window.addEventListener("hashchange", show);
  document.body.prepend(supernetBench.sides());
  show();
})();
