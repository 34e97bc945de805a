// The columns of the main table, and the chooser for those that are not shown at first.
"use strict";

supernetBench.columns = (() => {
  const {el, has, fixed, sig, interval, measured, limit, icon} = supernetBench;
  const PHONE = 640;

  // metric(): name of the metric in records; table(): the one that is shown; href(row)
  function make({metric, table, href}) {
    const score = row => row.scores[metric()];
    const all = [
      {key: "method", head: "Method", left: true, value: row => row.method,
        cell: row => el("span", {class: "method"}, icon(row.method), el("a", {href: href(row)}, row.method))},
      {key: "limit", head: "Limit", left: true, value: row => has(row.limit_share) ? row.limit_share : has(row.limit_ms) ? row.limit_ms : row.limit, cell: limit},
      {key: "quality", head: "Quality", down: true, value: row => (score(row) || [null])[0], cell: row => interval(score(row))},
      {key: "ratio", head: "Latency, x reference", value: row => row.ratio, cell: row => measured(row, "ratio", 2)},
      {key: "params", head: "Parameters M", value: row => row.params, cell: row => fixed(row.params, 2, 1e-6)},
      {key: "seconds", head: "Search s", value: row => row.seconds, cell: row => measured(row, "seconds", "sig")},
      {key: "status", head: "Status", left: true, words: true, value: row => row.status, cell: row => row.status},
      {key: "verified", head: "Run again", left: true, words: true, value: row => row.verified, cell: row => row.verified},
      {key: "authors", head: "Verified by its authors", left: true, words: true, value: row => row.authors, cell: row => row.authors},
      {key: "run_by", head: "Run by", left: true, words: true, value: row => row.run_by, cell: row => row.run_by},
      {key: "p50", head: "p50 ms", value: row => row.p50, cell: row => measured(row, "p50", "sig")},
      {key: "p90", head: "p90 ms", value: row => row.p90, cell: row => measured(row, "p90", "sig")},
      {key: "macs", head: "MMACs", value: row => row.macs, cell: row => sig(has(row.macs) ? row.macs / 1e6 : null)},
      {key: "bytes", head: "MB", value: row => row.bytes, cell: row => fixed(row.bytes, 1, 1e-6)},
      {key: "tokens", head: "Tokens %", value: row => row.tokens, cell: row => measured(row, "tokens", 0, 100)},
      {key: "evaluations", head: "Evaluations %", value: row => row.evaluations, cell: row => measured(row, "evaluations", 0, 100)},
      {key: "probes", head: "Probes %", value: row => row.probes, cell: row => measured(row, "probes", 0, 100)},
      {key: "updates", head: "Updates", value: row => row.updates, cell: row => sig(row.updates)},
      {key: "joules", head: "Energy kJ", value: row => row.joules, cell: row => measured(row, "joules", 1, 1e-3)},
      {key: "seeds", head: "Seeds", left: true, value: row => row.seeds, cell: row => row.seeds || "-"},
      {key: "origin", head: "Weights", left: true, value: row => row.origin, cell: row => row.origin || "-"},
      {key: "precision", head: "Precision", left: true, value: row => row.precision, cell: row => row.precision || "-"},
    ];
    // Latencies in other runtimes: a column each, of the table that is shown.
    const every = () => [...all.filter(one => (one.key !== "precision" || table().lowered) && (one.key !== "updates" || table().updates)), ...table().elsewhere.map(title => ({key: title, head: title, words: true,
      value: row => row.elsewhere[title] ? parseFloat(row.elsewhere[title].replaceAll(",", "")) : null,
      cell: row => row.elsewhere[title] || "-"}))].map(one => one.key === "quality" ? {...one, head: (table().metrics[metric()] || "Quality") + " [95 %]"} : one);
    function usual() {
      const several = new Set(table().rows.map(row => row.limit)).size > 1, timed = table().axis.key === "ratio";
      const limits = several ? ["limit"] : [];
      if (window.innerWidth <= PHONE) return ["method", ...limits, "quality", timed ? "ratio" : "params"];
      return ["method", ...limits, "quality", "ratio", ...(timed ? [] : ["params"]), "seconds", "status"];
    }
    return {every, usual, first: new Set(all.slice(0, 7).map(one => one.key))};
  }

  // Boxes to tick, one a column; changed(keys) is called with the columns that are ticked.
  function chooser(place, columns, chosen, changed) {
    place.replaceChildren(...columns.map(one => {
      const box = el("input", {type: "checkbox", value: one.key});
      box.checked = chosen.includes(one.key);
      box.disabled = one.key === "method";
      box.addEventListener("change", () => changed([...place.querySelectorAll("input:checked")].map(other => other.value)));
      return el("label", {class: "box"}, box, " " + one.head);
    }));
  }

  return {make, chooser};
})();
