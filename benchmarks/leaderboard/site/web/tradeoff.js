// Quality against latency as a ratio to the reference network, or against parameters where targets are sizes: one mark
// for each row that is compared, shapes besides colours, intervals both ways, the Pareto front, the limit.
"use strict";

supernetBench.tradeoff = (() => {
  const {svg, el, has, fixed, sig, interval, measured, limit, plot} = supernetBench;
  const MOST = 400;  // marks; a larger table shows its front and its first rows
  const OVER = 0.005;

  // Rows that no other row beats in both quality and latency, fastest first.
  function front(points) {
    const ordered = points.filter(p => !(p.row.over > OVER)).sort((a, b) => a.x - b.x || b.y - a.y);
    let best = -Infinity;
    return ordered.filter(point => point.y > best && ((best = point.y), true));
  }
  const drawn = (rows, options) => rows.filter(row => row.compared && has(row[options.axis.key]) && row.scores[options.metric]
    && has(row.scores[options.metric][0]));

  function draw(place, rows, options) {
    const {key, scale: unit, name: across} = options.axis;
    let points = drawn(rows, options).map(row => ({row, x: row[key] * unit, across: row.spans[key] || [], y: row.scores[options.metric][0],
      score: row.scores[options.metric]}));
    const all = points.length;
    if (!all) {
      place.replaceChildren(el("p", {class: "soft"}, `No row that is compared has both this metric and ${across}.`));
      return null;
    }
    if (all > MOST) points = [...new Set([...front(points), ...points.sort((a, b) => b.y - a.y).slice(0, MOST)])];
    points.sort((a, b) => a.x - b.x);
    // Room for the intervals, but very wide ones (two seeds) do not squeeze all marks into a corner.
    const domain = (at, ends) => {
      const [low, high] = plot.extent(at), room = 0.6 * (high - low) || Math.abs(high) * 0.1 || 1, [least, most] = plot.extent([...at, ...ends]);
      const [from, to] = [Math.max(low - room, least), Math.min(high + room, most)], pad = (to - from) * 0.06 || room;
      return [from - pad, to + pad];
    };
    const {body, x, y, width, margin, bottom, right} = plot.frame(place, {label: options.label,
      x: {domain: domain(points.map(p => p.x), points.flatMap(p => p.across.map(v => typeof v === "number" ? v * unit : v).slice(0, 2))), name: `\u2190 ${across}`},
      y: {domain: domain(points.map(p => p.y), points.flatMap(p => p.score.slice(1, 3).filter(has))), name: `\u2191 ${options.metricName}`}});
    const best = svg("path", {class: "front", "aria-hidden": "true"});
    const bound = svg("line", {class: "bound", "aria-hidden": "true", y1: margin.top, y2: bottom});
    const list = svg("g", {role: "list"});
    body.append(best, bound, list);
    const tip = plot.tip(place);
    const tell = ({row, score}) => `${row.method}, limit ${limit(row)}: ${options.metricName} ${interval(score)}, `
      + `${measured(row, "ratio", 2)} x reference, ${fixed(row.params, 2, 1e-6)} M parameters, ${row.status}`;
    const nodes = points.map((p, i) => {
      const bars = [];
      if (has(p.score[1]) && has(p.score[2])) bars.push(svg("line", {class: "error", x1: x(p.x), x2: x(p.x), y1: y.inside(p.score[1]), y2: y.inside(p.score[2])}));
      if (p.across.length) bars.push(svg("line", {class: "error", y1: y(p.y), y2: y(p.y), x1: x.inside(p.across[0] * unit), x2: x.inside(p.across[1] * unit)}));
      const node = svg("g", {role: "listitem", class: "point", "aria-label": tell(p), tabindex: i ? -1 : 0}, ...bars,
        supernetBench.mark(p.row.method, {transform: `translate(${x(p.x).toFixed(1)},${y(p.y).toFixed(1)})`}),
        p.row.over > OVER ? svg("path", {class: "over", d: "M-8,-8L8,8M-8,8L8,-8", transform: `translate(${x(p.x).toFixed(1)},${y(p.y).toFixed(1)})`}) : null);
      const show = () => {
        tip.show(tell(p), x(p.x), y(p.y), width);
        options.details.replaceChildren(tell(p) + ". ", el("a", {href: options.href(p.row)}, "Open this row"));
      };
      node.addEventListener("mouseenter", show);
      node.addEventListener("focus", show);
      node.addEventListener("mouseleave", tip.hide);
      node.addEventListener("blur", tip.hide);
      node.addEventListener("click", () => { location.href = options.href(p.row); });
      node.addEventListener("keydown", event => {
        const by = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, Home: -points.length, End: points.length};
        if (event.key === "Enter") location.href = options.href(p.row);
        if (event.key === "Escape") tip.hide();
        if (!(event.key in by)) return;
        event.preventDefault();
        const to = nodes[Math.max(0, Math.min(nodes.length - 1, i + by[event.key]))];
        nodes.forEach(other => other.setAttribute("tabindex", -1));
        to.setAttribute("tabindex", 0);
        to.focus();
      });
      return node;
    });
    list.append(...nodes);
    if (all > points.length) place.append(el("p", {class: "soft"}, `${points.length} of ${all} rows are drawn: the front and the best in ${options.metricName}.`));

    // What moves with the slider: which rows are within the limit, and their front.
    return most => {
      const within = points.filter(p => p.x <= most), steps = front(within);
      nodes.forEach((node, i) => {
        node.classList.toggle("beyond", points[i].x > most);
        node.classList.toggle("best", steps.includes(points[i]));
      });
      best.setAttribute("d", steps.map((p, i) => (i ? `H${x(p.x)}V${y(p.y)}` : `M${x(p.x)},${y(p.y)}`)).join("") + (steps.length ? `H${right}` : ""));
      const far = most >= points[points.length - 1].x;
      if (far) bound.setAttribute("visibility", "hidden"); else bound.removeAttribute("visibility");
      if (!far) { bound.setAttribute("x1", x(most)); bound.setAttribute("x2", x(most)); }
    };
  }

  return {draw, drawn};
})();
