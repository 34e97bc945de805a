// Quality against latency as a ratio to the reference network, or against parameters where targets are sizes: one mark
// for each row that is compared, shapes besides colours, intervals both ways, the Pareto front, the limit.
"use strict";

supernetBench.chart = (() => {
  const {has, fixed, sig, interval, measured, limit} = supernetBench;
  const SHAPES = [d3.symbolCircle, d3.symbolSquare, d3.symbolTriangle, d3.symbolDiamond, d3.symbolCross,
    d3.symbolStar, d3.symbolWye];
  const COLOURS = 8;
  const LEGEND = 24;

  // The look of each method: shape, colour class, filled or hollow; the same in the plot and its legend.
  function looks(rows) {
    const found = new Map();
    for (const row of rows) {
      const n = found.size;
      if (!found.has(row.method)) found.set(row.method, {
        path: d3.symbol().type(SHAPES[n % SHAPES.length]).size(90)(),
        mark: "mark colour-" + (n % COLOURS) + (Math.floor(n / SHAPES.length) % 2 ? " hollow" : "")});
    }
    return found;
  }

  // Rows that no other row beats in both quality and latency, fastest first.
  function front(points) {
    const ordered = points.slice().sort((a, b) => a.x - b.x || b.y - a.y);
    let best = -Infinity;
    return ordered.filter(point => point.y > best && ((best = point.y), true));
  }

  function draw(place, rows, options) {
    const {key, scale: unit, name: across} = options.axis;
    const points = rows.filter(row => row.compared && has(row[key]) && row.scores[options.metric] && has(row.scores[options.metric][0]))
      .map(row => ({row, x: row[key] * unit, across: row.spans[key] || [], y: row.scores[options.metric][0], score: row.scores[options.metric]}))
      .sort((a, b) => a.x - b.x);
    place.replaceChildren();
    if (!points.length) {
      place.append(supernetBench.el("p", {class: "soft"}, "No row that is compared has both this metric and " + across + "."));
      return;
    }
    const width = Math.max(280, Math.min(place.clientWidth, 1100)), height = Math.min(460, Math.max(280, width * 0.6));
    const margin = {top: 14, right: 16, bottom: 46, left: 52};
    // Room for the intervals, but very wide ones (two seeds) do not squeeze all marks into a corner.
    const domain = (at, ends) => {
      const [low, high] = d3.extent(at), room = 0.6 * (high - low) || Math.abs(high) * 0.1 || 1, [least, most] = d3.extent(ends);
      const [from, to] = [Math.max(low - room, least), Math.min(high + room, most)], pad = (to - from) * 0.06 || room;
      return [from - pad, to + pad];
    };
    const spans = {x: points.map(p => p.across.slice(0, 2)), y: points.map(p => p.score.slice(1, 3).filter(has))};
    const scale = (key, range) => {
      const at = points.map(p => p[key]);
      return d3.scaleLinear().domain(domain(at, [...at, ...spans[key].flat()])).range(range);
    };
    const x = scale("x", [margin.left, width - margin.right]), y = scale("y", [height - margin.bottom, margin.top]);
    const inside = (value, axis) => axis(Math.max(axis.domain()[0], Math.min(axis.domain()[1], value)));
    const svg = d3.select(place).append("svg").attr("viewBox", [0, 0, width, height]).attr("width", width)
      .attr("height", height).attr("role", "group").attr("aria-label", options.label);
    const axis = (maker, transform, grid) => svg.append("g").attr("class", "axis").attr("aria-hidden", "true")
      .attr("transform", transform).call(maker).call(g => g.selectAll(".tick line").clone()
        .attr("class", "grid").attr(grid[0], grid[1]));
    axis(d3.axisBottom(x).ticks(width / 90), `translate(0,${height - margin.bottom})`,
      ["y2", margin.top + margin.bottom - height]);
    axis(d3.axisLeft(y).ticks(6), `translate(${margin.left},0)`, ["x2", width - margin.left - margin.right]);
    const said = (text, left, top, anchor) => svg.append("text").attr("class", "axis-name").attr("x", left)
      .attr("y", top).attr("text-anchor", anchor).attr("aria-hidden", "true").text(text);
    said(across + " (left is better)", width - margin.right, height - 8, "end");
    svg.append("text").attr("class", "axis-name").attr("aria-hidden", "true")
      .attr("transform", `translate(13,${margin.top})rotate(-90)`).attr("text-anchor", "end")
      .text(options.metricName + " (up is better)");

    const line = d3.line().curve(d3.curveStepAfter).x(p => x(p.x)).y(p => y(p.y));
    const best = svg.append("path").attr("class", "front").attr("aria-hidden", "true");
    const bound = svg.append("line").attr("class", "bound").attr("aria-hidden", "true")
      .attr("y1", margin.top).attr("y2", height - margin.bottom);
    const bars = (there, ends) => svg.append("g").attr("aria-hidden", "true").selectAll("line").data(there).enter()
      .append("line").attr("class", "error").each(function (p) {
        Object.entries(ends(p)).forEach(([key, value]) => this.setAttribute(key, value));
      });
    bars(points.filter(p => has(p.score[1]) && has(p.score[2])),
      p => ({x1: x(p.x), x2: x(p.x), y1: inside(p.score[1], y), y2: inside(p.score[2], y)}));
    bars(points.filter(p => p.across.length),
      p => ({x1: inside(p.across[0], x), x2: inside(p.across[1], x), y1: y(p.y), y2: y(p.y)}));
    const tell = point => `${point.row.method}, limit ${limit(point.row)}: ${options.metricName} `
      + `${interval(point.score)}, ${measured(point.row, "ratio", 2)} x reference, ${sig(point.row.p50)} ms, ${fixed(point.row.params, 2, 1e-6)} M parameters, ${point.row.status}`;
    const marks = svg.append("g").attr("role", "list").selectAll("path").data(points).enter().append("path")
      .attr("role", "listitem").attr("aria-label", tell).attr("tabindex", (p, i) => i ? -1 : 0)
      .attr("d", p => options.looks.get(p.row.method).path)
      .attr("transform", p => `translate(${x(p.x)},${y(p.y)})`);
    const show = point => {
      const link = supernetBench.el("a", {href: options.href(point.row)}, "Open this row");
      options.details.replaceChildren(tell(point) + ". ", link);
    };
    const go = (i, by) => {
      const nodes = marks.nodes(), to = nodes[Math.max(0, Math.min(nodes.length - 1, i + by))];
      marks.attr("tabindex", -1);
      to.setAttribute("tabindex", 0);
      to.focus();
    };
    marks.on("mouseenter", show).on("focus", show).on("click", point => { location.href = options.href(point.row); })
      .on("keydown", (point, i) => {
        const by = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, Home: -points.length, End: points.length};
        if (d3.event.key === "Enter") location.href = options.href(point.row);
        if (!(d3.event.key in by)) return;
        d3.event.preventDefault();
        go(i, by[d3.event.key]);
      });

    // What moves with the slider: which rows are within the limit, and their front.
    return most => {
      const within = points.filter(p => p.x <= most);
      const steps = front(within.filter(p => !(p.row.over > 0.005)));
      marks.attr("class", p => options.looks.get(p.row.method).mark + (p.x <= most ? "" : " beyond")
        + (steps.includes(p) ? " best" : ""));
      best.attr("d", steps.length ? line(steps) : null);
      const far = most >= points[points.length - 1].x;
      bound.attr("visibility", far ? "hidden" : null);
      if (!far) bound.attr("x1", x(most)).attr("x2", x(most));
    };
  }

  function legend(place, found) {
    const shown = [...found].slice(0, LEGEND);
    place.replaceChildren(...shown.map(([method, look]) => {
      const item = supernetBench.el("li");
      d3.select(item).append("svg").attr("viewBox", "-9 -9 18 18").attr("width", 18).attr("height", 18)
        .attr("aria-hidden", "true").append("path").attr("d", look.path).attr("class", look.mark);
      item.append(" " + method);
      return item;
    }));
    if (found.size > LEGEND) place.append(supernetBench.el("li", {}, `and ${found.size - LEGEND} more: point at a mark`));
  }

  return {looks, draw, legend};
})();
