// The trace of a run: loss while it searched, budget over its time, and what each phase took.
"use strict";

supernetBench.trace = (() => {
  const {el, svg, has, sig, plot} = supernetBench;
  const KINDS = {tokens: "training tokens", evaluations: "evaluations", probes: "latency probes", seconds: "seconds", joules: "joules"};

  const LETTER = 6.5;  // pixels that a character of a phase's name takes at most

  function curve(points, options) {
    const place = el("div", {class: "trace"});
    const {body, x, y, right} = plot.frame(place, {label: options.label,
      x: {domain: plot.extent(points.map(p => p[0])), name: options.across}, y: {domain: options.from0 ? [0, Math.max(...points.map(p => p[1])) || 1] : padded(points), name: options.up}});
    body.append(svg("path", {class: "curve colour-0", d: points.map((p, i) => !i ? `M${x(p[0])},${y(p[1])}` : options.steps ? `H${x(p[0])}V${y(p[1])}` : `L${x(p[0])},${y(p[1])}`).join("")}));
    for (const [at, name] of options.begins || []) {
      const last = x(at) + 3 + LETTER * name.length > right;  // its name would be cut
      body.append(svg("line", {class: "error", x1: x(at), x2: x(at), y1: y(y.domain[0]), y2: y(y.domain[1]), "stroke-dasharray": "3 3"}),
        svg("text", {class: "phase", x: x(at) + (last ? -3 : 3), "text-anchor": last ? "end" : "start", y: y(y.domain[1]) + 11 + 13 * (options.begins.findIndex(one => one[0] === at) % 4)}, name));
    }
    return place;
  }
  const padded = points => { const [low, high] = plot.extent(points.map(p => p[1])), pad = 0.08 * (high - low || 1); return [low - pad, high + pad]; };

  // A bar a kind of budget, a part a phase; patterns are told by their texts below.
  function phases(spent) {
    const kinds = Object.keys(KINDS).filter(kind => spent[kind]);
    const names = [...new Set(kinds.flatMap(kind => Object.keys(spent[kind])))];
    return el("div", {class: "bars"}, ...kinds.flatMap(kind => {
      const total = Object.values(spent[kind]).reduce((a, b) => a + b, 0);
      let from = 0;
      const bar = svg("svg", {viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true"}, ...names.filter(name => spent[kind][name]).map(name => {
        const width = 100 * spent[kind][name] / total, part = svg("rect", {x: from, width, y: 0, height: 10, class: "part colour-" + names.indexOf(name) % 8});
        from += width;
        return part;
      }));
      const words = names.filter(name => spent[kind][name]).map(name => `${name} ${Math.round(100 * spent[kind][name] / total)} %`).join(", ");
      return [el("span", {}, KINDS[kind]), el("div", {}, bar, el("span", {class: "soft"}, `${words}; ${sig(total)} in all`))];
    }));
  }

  // run.trace: {log: [[evaluations, loss]], timeline: [[seconds, tokens, phase]], spent: {kind: {phase: amount}}}
  function draw(run, unit) {
    const {log, timeline, spent} = run.trace, parts = [];
    if (log.length > 1) parts.push(curve(log, {steps: true, label: `Best validation loss so far, ${sig(log[0][1])} at first, ${sig(log[log.length - 1][1])} at the end`,
      across: "validation evaluations", up: `\u2193 best validation loss so far, ${unit}`}));
    if (timeline.length > 1) {
      const begins = timeline.filter((p, i) => has(p[2]) && (!i || p[2] !== timeline[i - 1][2])).map(p => [p[0], p[2]]);
      parts.push(curve(timeline, {from0: true, begins, label: `Tokens over time, by phase: ${begins.map(one => one[1]).join(", ")}`, across: "seconds since its start", up: "\u2191 training tokens charged"}));
    }
    if (Object.keys(spent).length) parts.push(phases(spent));
    return parts.length ? parts : [el("p", {}, "The record has no trace.")];
  }

  return {draw};
})();
