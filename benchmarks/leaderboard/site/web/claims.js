// The papers' claims: a table of all, and for each what it says, what our records say, and what would decide it.
"use strict";

(() => {
  const {el, address, grid} = supernetBench;
  const at = id => document.getElementById(id);
  const {papers, claims, rules} = supernetBench.judged();
  const pair = (name, ...value) => el("div", {}, el("dt", {}, name), el("dd", {}, ...value));
  const wide = (...given) => { const made = pair(...given); made.className = "wide"; return made; };
  const ours = one => one.shown === "-" ? "nothing measured yet" : `${one.shown} ${one.unit}`;
  const short = title => title.split(" (")[0];

  function claim(one) {
    const used = part => part.records.length ? [el("details", {}, el("summary", {}, `${part.records.length} records`),
      el("code", {}, part.records.join(" ")))] : [];
    const evidence = one.evidence.length
      ? el("ul", {}, ...one.evidence.map(part => el("li", {}, `${part.where}: ${part.text}`, ...used(part)))) : "nothing yet";
    return el("details", {class: "claim", id: "claim-" + one.id},
      el("summary", {}, el("code", {}, one.id), " ", el("span", {class: "verdict " + one.verdict.replace(" ", "-")}, one.verdict), " ", one.statement),
      el("p", {}, one.verdict_with_reason),
      ...(one.confounded ? [el("p", {}, "Confounded with " + one.confounded)] : []),
      ...(one.remark ? [el("p", {}, "Remark, after the measurements: " + one.remark)] : []),
      el("dl", {class: "facts"}, pair("the paper", one.figure), pair("ours, with 95 % interval", ours(one)),
        pair("paired seeds", String(one.n)), pair("supported by", one.rule),
        wide("what we measure", one.estimand), wide("rests on", evidence)),
      ...(one.command ? [el("p", {}, "To decide it:"), el("pre", {tabindex: "0"}, el("code", {}, one.command))]
        : one.decide ? [el("p", {}, "To decide it: " + one.decide)] : []));
  }

  at("rules").textContent = rules;
  const decided = one => ["supported", "refuted"].includes(one.verdict);
  const kind = one => one.verdict + (decided(one) && one.confounded ? ", but confounded" : "");
  const kinds = ["supported", "supported, but confounded", "refuted", "refuted, but confounded", "undecided", "not tested"];
  const details = new Map(claims.map(one => [one.id, claim(one)]));
  const sections = Object.entries(papers).map(([paper, title]) => [paper, el("section", {"aria-labelledby": paper},
    el("h2", {id: paper}, title), ...claims.filter(one => one.paper === paper).map(one => details.get(one.id)))]);
  at("claims").append(...sections.map(([, part]) => part));
  at("verdict").append(el("option", {value: ""}, "any"), ...["supported", "refuted", "undecided", "not tested"].map(name => el("option", {value: name}, name)));
  at("paper").append(el("option", {value: ""}, "any"), ...Object.entries(papers).map(([id, title]) => el("option", {value: id}, short(title))));

  function unfold(id) {
    const part = details.get(id);
    if (!part) return;
    part.open = true;
    part.scrollIntoView();
    part.querySelector("summary").focus({preventScroll: true});
    remember(id);
  }
  const columns = [
    {key: "id", head: "claim", left: true, value: one => one.id, cell: one => {
      const link = el("a", {href: "#" + one.id}, one.id);
      link.addEventListener("click", event => { event.preventDefault(); unfold(one.id); });
      return link;
    }},
    // The claim and its verdict first: on a phone the other columns are behind a scroll.
    {key: "statement", head: "what is claimed", left: true, words: true, cell: one => one.statement},
    {key: "verdict", head: "verdict", left: true, value: one => kinds.indexOf(kind(one)), cell: one =>
      el("span", {class: "verdict " + one.verdict.replace(" ", "-")}, kind(one))},
    {key: "paper", head: "paper", left: true, value: one => one.paper, cell: one => short(papers[one.paper])},
    {key: "n", head: "pairs", value: one => one.n, cell: one => String(one.n)},
  ];
  const summary = grid.make(at("summary"), {name: "the claims", size: 50, columns, changed: () => remember()});

  function filter() {
    const text = at("search").value.trim().toLowerCase(), verdict = at("verdict").value, paper = at("paper").value;
    const shown = claims.filter(one => (!verdict || one.verdict === verdict) && (!paper || one.paper === paper)
      && (one.id + " " + one.statement + " " + one.estimand).toLowerCase().includes(text));
    const left = new Set(shown.map(one => one.id));
    for (const [id, part] of details) part.hidden = !left.has(id);
    for (const [, part] of sections) part.hidden = !part.querySelector(".claim:not([hidden])");
    const counts = kinds.map(name => [shown.filter(one => kind(one) === name).length, name])
      .filter(([count]) => count).map(([count, name]) => `${count} ${name}`);
    at("said").textContent = `${shown.length} of ${claims.length} claims` + (counts.length ? ": " + counts.join(", ") : "");
    summary.show(shown);
  }
  function remember(id = address.read().what) {
    address.write(id, [["verdict", at("verdict").value], ["paper", at("paper").value], ["q", at("search").value.trim()],
      ["sort", summary.state.sort], ["order", summary.state.sort && summary.state.down ? "down" : null]]);
  }
  function start() {
    const {what, choices} = address.read();
    at("verdict").value = choices.get("verdict") || "";
    at("paper").value = choices.get("paper") || "";
    at("search").value = choices.get("q") || "";
    summary.state.sort = choices.get("sort");
    summary.state.down = choices.get("order") === "down";
    filter();
    if (what) unfold(what);
  }
  for (const id of ["verdict", "paper", "search"]) at(id).addEventListener("input", () => { filter(); remember(""); });
  at("filters").addEventListener("submit", event => event.preventDefault());
  window.addEventListener("hashchange", start);
  start();
})();
