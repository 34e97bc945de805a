// The papers' claims: what each says, what our records say, and the command that would decide it.
"use strict";

(() => {
  const {el} = supernetBench;
  const at = id => document.getElementById(id);
  const {papers, claims, rules} = supernetBench.judged();
  const pair = (name, ...value) => el("div", {}, el("dt", {}, name), el("dd", {}, ...value));

  const wide = (...given) => { const made = pair(...given); made.className = "wide"; return made; };

  function claim(one) {
    const id = "claim-" + one.id;
    const used = found => found.records.length ? [el("details", {}, el("summary", {}, `${found.records.length} records`),
      el("code", {}, found.records.join(" ")))] : [];
    const evidence = one.evidence.length
      ? el("ul", {}, ...one.evidence.map(found => el("li", {}, `${found.where}: ${found.text}`, ...used(found)))) : "nothing yet";
    return el("article", {"aria-labelledby": id}, el("h3", {id}, one.id), el("p", {}, one.statement),
      el("p", {class: "verdict " + one.verdict.replace(" ", "-")}, one.verdict_with_reason),
      ...(one.confounded ? [el("p", {}, "Confounded with " + one.confounded)] : []),
      el("dl", {class: "facts"}, pair("the paper", one.figure), pair("ours, with 95 % interval", one.shown === "-" ? "nothing measured yet" : `${one.shown} ${one.unit}`),
        pair("paired seeds", String(one.n)), pair("supported by", one.rule),
        wide("what we measure", one.estimand), wide("rests on", evidence)),
      ...(one.command ? [el("p", {}, "To decide it:"), el("pre", {tabindex: "0"}, el("code", {}, one.command))]
        : one.decide ? [el("p", {}, "To decide it: " + one.decide)] : []));
  }

  at("rules").textContent = rules;
  const decided = one => ["supported", "refuted"].includes(one.verdict);
  const kind = one => one.verdict + (decided(one) && one.confounded ? ", but confounded" : "");
  const kinds = ["supported", "supported, but confounded", "refuted", "refuted, but confounded", "undecided", "not tested"];
  const counts = kinds.map(name => [claims.filter(one => kind(one) === name).length, name])
    .filter(([count]) => count).map(([count, name]) => `${count} ${name}`);
  at("said").textContent = `${claims.length} claims: ${counts.join(", ")}`;
  at("claims").append(...Object.entries(papers).map(([paper, title]) => el("section", {"aria-labelledby": paper},
    el("h2", {id: paper}, title), ...claims.filter(one => one.paper === paper).map(claim))));
})();
