// The other views of a table: quality over the budget spent, cost over the number of targets, and win rates.
"use strict";

supernetBench.otherViews = (() => {
  const {svg, el, plot} = supernetBench;

  // Lines with marks; each point is told by mouse, and the whole series by its label.
  function lines(place, series, options) {
    const every = series.flatMap(one => one.points);
    if (!every.length) {
      place.replaceChildren(el("p", {class: "soft"}, options.empty));
      return null;
    }
    const pad = ([low, high], log) => log ? [low, high] : [Math.min(0, low), high + 0.05 * (high - low || 1)];
    const chart = plot.frame(place, {label: options.label,
      x: {domain: plot.extent(every.map(p => p[0])), log: options.xlog, name: options.across},
      y: {domain: pad(plot.extent(every.flatMap(p => p.slice(1))), options.ylog), log: options.ylog, name: options.up}});
    const {body, x, y, width} = chart, tip = plot.tip(place), list = svg("g", {role: "list"});
    body.append(list);
    for (const {method, points, said} of series) {
      const [colour] = supernetBench.style(method);
      const path = points.map((p, i) => !i ? `M${x(p[0])},${y(p[1])}` : options.steps ? `H${x(p[0])}V${y(p[1])}` : `L${x(p[0])},${y(p[1])}`).join("");
      const group = svg("g", {role: "listitem", class: "line", tabindex: 0, "aria-label": said});
      if (points[0].length > 2 && series.length <= BANDS) {
        const up = points.map((p, i) => (i ? `H${x(p[0])}V${y(p[3])}` : `M${x(p[0])},${y(p[3])}`)).join("");
        const back = points.slice().reverse().map((p, i) => (i ? `V${y(p[2])}H${x(p[0])}` : `V${y(p[2])}`)).join("");
        group.append(svg("path", {class: "band colour-" + colour, d: up + back + "Z"}));
      }
      group.append(svg("path", {class: "curve colour-" + colour, d: path, "stroke-dasharray": DASHES[supernetBench.style(method)[1]]}));
      const marked = points.filter((p, i) => p[1] > 0 && (!i || i === points.length - 1 || p[1] !== points[i - 1][1]));
      const every_ = Math.ceil(marked.length / 8);
      for (const p of marked.filter((_, i) => i % every_ === 0 || i === marked.length - 1)) {
        const dot = supernetBench.mark(method, {transform: `translate(${x(p[0])},${y(p[1])})`});
        dot.addEventListener("mouseenter", () => tip.show(options.tell(method, p), x(p[0]), y(p[1]), width));
        dot.addEventListener("mouseleave", tip.hide);
        group.append(dot);
      }
      group.addEventListener("focus", () => { const p = points[points.length - 1]; tip.show(said, x(p[0]), y(p[1]), width); });
      group.addEventListener("blur", tip.hide);
      list.append(group);
    }
    return chart;
  }
  const BANDS = 4;  // more bands than that hide one another
  const DASHES = [null, "7 3", "2 2", "8 3 2 3", "5 1.5", "10 4", "3 3", "8 2 2 2 2 2", "12 3", "4 2"];

  function anyTime(place, data, shown, metric) {
    const series = (data ? data.series : []).filter(one => shown.has(one.method));
    const last = points => points[points.length - 1];
    lines(place, series.map(one => ({...one, said: `${one.method}: ${plot.text(last(one.points)[1])} after ${plot.text(last(one.points)[0])} %`})),
      {steps: true, label: `Hypervolume of ${metric} and cost over the share of the budget spent`,
        across: `${data ? data.spent : ""} spent, % of the allowance`, up: "\u2191 hypervolume, mean over seeds" + (series.length <= BANDS ? "; band: lowest to highest" : ""),
        empty: "When these runs proposed their networks is not known.",
        tell: (method, p) => `${method}: hypervolume ${plot.text(p[1])} at ${plot.text(p[0])} % spent`});
  }

  const TARGETS = [1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100];
  const CHOICES = [1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100];
  let chosen = 5;  // targets, kept from table to table

  function breakEven(place, data, shown) {
    const every = data.filter(one => shown.has(one.method)), cost = (one, n) => one.shared / n + one.own;
    const series = every.map(one => ({method: one.method,
      points: TARGETS.map(n => [n, cost(one, n)]),
      said: `${one.method}: ${plot.text(cost(one, 1))} tokens for one target, ${plot.text(cost(one, 100))} each for a hundred; quality ${one.quality}`}));
    const chart = lines(place, series, {xlog: true, label: "Training tokens a target over the number of targets that share a supernet",
      across: "targets that share the search", up: "\u2191 training tokens a target", empty: "What these runs spent by phase is not known.",
      tell: (method, p) => `${method}: ${plot.text(p[1])} tokens a target at ${p[0]} targets; ${data.find(one => one.method === method).quality}`});
    if (!chart) return;
    const costs = new Map();
    for (const one of every) {
      const key = `${one.shared.toPrecision(2)} ${one.own.toPrecision(2)}`;
      costs.set(key, [...(costs.get(key) || []), one.method]);
    }
    const alike = [...costs.values()].filter(methods => methods.length > 1).map(methods => methods.join(", "));
    if (alike.length) place.append(el("p", {class: "soft"}, `Nearly equal curves lie upon one another: ${alike.join("; ")}.`));

    const rule = svg("line", {class: "rule", y1: chart.margin.top, y2: chart.bottom}), number = el("output", {for: "targets"});
    const slider = el("input", {id: "targets", type: "range", min: 0, max: CHOICES.length - 1, step: 1, value: CHOICES.indexOf(chosen)});
    const body = el("tbody"), against = (every.find(one => one.against) || {}).against, compared = against ? [`targets to cost as ${against}`, `quality minus ${against}'s`] : [];
    const costHead = el("th", {scope: "col"});
    chart.body.append(rule);
    function choose() {
      chosen = CHOICES[slider.value];
      number.textContent = String(chosen);
      costHead.textContent = `tokens a target, N = ${chosen}`;
      slider.setAttribute("aria-valuetext", `${chosen} targets`);
      rule.setAttribute("x1", chart.x(chosen));
      rule.setAttribute("x2", chart.x(chosen));
      body.replaceChildren(...every.slice().sort((a, b) => cost(a, chosen) - cost(b, chosen)).map(one => el("tr", {},
        el("th", {scope: "row"}, supernetBench.icon(one.method), " " + one.method), el("td", {}, plot.text(cost(one, chosen))), el("td", {class: "words"}, one.quality),
        ...(against ? [el("td", {}, one.against ? one.even === null ? "never" : one.even.toFixed(1) : ""), el("td", {class: "words"}, one.gain || "")] : []))));
    }
    slider.addEventListener("input", choose);
    place.append(el("label", {class: "slider", for: "targets"}, el("span", {}, "Targets that share the search: ", number), slider),
      el("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": "Cost a target"}, el("table", {class: "even"},
        el("caption", {}, "Training tokens a target, shared / N + its own, with the quality: mean over limits, 95 % over the seeds that have all of them" + (against ? `; differences from ${against} are paired by seed` : "")),
        el("thead", {}, el("tr", {}, el("th", {scope: "col", class: "left"}, "method"), costHead, ...["quality", ...compared].map(name => el("th", {scope: "col"}, name)))), body)));
    choose();
  }

  function winRates(place, data, shown) {
    const among = data.methods.map((method, i) => i).filter(i => shown.has(data.methods[i]));
    const kept = among.filter(i => among.some(j => j !== i && data.rates[i][j][1]));  // those with a pair
    if (kept.length < 2) {
      place.replaceChildren(el("p", {class: "soft"}, "Fewer than two methods share a seed and a limit."));
      return;
    }
    const head = i => el("th", {scope: "col", class: "narrow", title: data.methods[i]}, supernetBench.icon(data.methods[i]), el("span", {class: "hidden"}, data.methods[i]));
    place.replaceChildren(el("div", {class: "scroll", tabindex: "0", role: "region", "aria-label": "Win rates"}, el("table", {class: "wins"},
      el("caption", {}, "How often the row's method has more quality than the column's: % of pairs of equal seed and limit, a tie counts half"),
      el("thead", {}, el("tr", {}, el("th", {scope: "col", class: "left"}, "method"), ...kept.map(head))),
      el("tbody", {}, ...kept.map(i => el("tr", {}, el("th", {scope: "row"}, supernetBench.icon(data.methods[i]), " " + data.methods[i]),
        ...kept.map(j => {
          const [rate, pairs] = data.rates[i][j];
          return i === j || !pairs ? el("td", {class: "narrow soft"}, i === j ? "\u2013" : "") : el("td", {class: "narrow share-" + Math.round(rate / 10),
            title: `${data.methods[i]} against ${data.methods[j]}: ${rate} % of ${pairs} pairs`}, String(rate));
        })))))));
  }

  return {anyTime, breakEven, winRates};
})();
