// Parts of every chart: axes whose labels keep apart, and the text that floats at a point.
"use strict";

supernetBench.plot = (() => {
  const {el, svg, has} = supernetBench;
  const LETTER = 7;  // pixels that a character of an axis takes at most

  const nice = value => {
    const power = 10 ** Math.floor(Math.log10(value)), share = value / power;
    return (share <= 1 ? 1 : share <= 2 ? 2 : share <= 5 ? 5 : 10) * power;
  };
  function ticks([low, high], count) {
    const step = nice((high - low) / Math.max(1, count));
    return Array.from({length: Math.floor(high / step + 1e-9) - Math.ceil(low / step - 1e-9) + 1},
      (_, i) => (Math.ceil(low / step - 1e-9) + i) * step);
  }
  function decades([low, high]) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power += 1)
      for (const share of [1, 2, 5]) if (share * 10 ** power >= low && share * 10 ** power <= high * 1.0001) found.push(share * 10 ** power);
    return found;
  }
  const text = value => {
    if (Math.abs(value) >= 1e6) return Number((value / 1e6).toPrecision(3)) + " M";
    if (Math.abs(value) >= 1e4) return Number((value / 1e3).toPrecision(3)) + " k";
    return String(Number(value.toPrecision(6)));
  };
  // Labels that stand at least a character apart, each `size(label)` long.
  function apart(values, at, size) {
    let end = -Infinity;
    return values.filter(value => {
      const half = size(text(value)) / 2, from = at(value) - half;
      if (from < end + LETTER) return false;
      end = at(value) + half;
      return true;
    });
  }

  function scale(domain, range, log) {
    const f = log ? Math.log : Number, [a, b] = domain.map(f), [from, to] = range;
    const made = value => from + (f(value) - a) / (b - a || 1) * (to - from);
    made.domain = domain;
    made.inside = value => made(Math.max(domain[0], Math.min(domain[1], value)));
    return made;
  }

  // An empty chart; returns its svg, both scales and the place of the drawing.
  function frame(place, {label, x, y}) {
    const width = Math.max(280, Math.min(place.clientWidth || Math.min(600, window.innerWidth - 40), 1100)), height = Math.round(Math.min(420, Math.max(270, width * 0.68)));
    const margin = {top: 22, right: 14, bottom: 44, left: 48};
    const sx = scale(x.domain, [margin.left, width - margin.right], x.log), sy = scale(y.domain, [height - margin.bottom, margin.top], y.log);
    const body = svg("svg", {viewBox: `0 0 ${width} ${height}`, width, height, role: "group", "aria-label": label});
    const axes = svg("g", {class: "axis", "aria-hidden": "true"});
    const along = apart(x.log ? decades(x.domain) : ticks(x.domain, width / 80), sx, word => word.length * LETTER);
    const up = apart((y.log ? decades(y.domain) : ticks(y.domain, height / 60)).slice().reverse(), sy, () => 12).reverse();
    const bottom = height - margin.bottom, right = width - margin.right;
    for (const value of along) axes.append(svg("line", {class: "grid", x1: sx(value), x2: sx(value), y1: margin.top, y2: bottom}),
      svg("text", {x: sx(value), y: bottom + 16, "text-anchor": "middle"}, text(value)));
    for (const value of up) axes.append(svg("line", {class: "grid", y1: sy(value), y2: sy(value), x1: margin.left, x2: right}),
      svg("text", {x: margin.left - 6, y: sy(value) + 4, "text-anchor": "end"}, text(value)));
    axes.append(svg("line", {x1: margin.left, x2: right, y1: bottom, y2: bottom}), svg("line", {x1: margin.left, x2: margin.left, y1: margin.top, y2: bottom}),
      svg("text", {class: "axis-name", x: right, y: height - 8, "text-anchor": "end"}, x.name),
      svg("text", {class: "axis-name", x: 2, y: 12}, y.name));
    body.append(axes);
    place.replaceChildren(body);
    return {body, x: sx, y: sy, width, height, margin, bottom, right};
  }

  // The text at a point; it stays inside the chart.
  function tip(place) {
    const box = el("div", {class: "tip", "aria-hidden": "true", hidden: ""});
    place.append(box);
    return {
      show(said, left, top, width) {
        box.replaceChildren(said);
        box.hidden = false;
        const scaled = place.querySelector("svg").getBoundingClientRect().width / width;
        box.style.left = Math.max(0, Math.min(left * scaled - box.offsetWidth / 2, place.clientWidth - box.offsetWidth)) + "px";
        box.style.top = (top * scaled > box.offsetHeight + 14 ? top * scaled - box.offsetHeight - 12 : top * scaled + 14) + "px";
      },
      hide() { box.hidden = true; },
    };
  }

  const extent = values => { const known = values.filter(has); return known.length ? [Math.min(...known), Math.max(...known)] : [0, 1]; };
  return {frame, tip, extent, text};
})();
