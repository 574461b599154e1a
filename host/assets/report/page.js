"use strict";
document.documentElement.classList.add("js");

// Tabs: arrow keys move, as the ARIA practices have it.
for (const list of document.querySelectorAll("[role=tablist]")) {
  const tabs = [...list.querySelectorAll("[role=tab]")];
  const show = (tab, focus) => {
    for (const other of tabs) {
      const chosen = other === tab;
      other.setAttribute("aria-selected", chosen);
      other.tabIndex = chosen ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
    }
    if (focus) tab.focus();
  };
  for (const [at, tab] of tabs.entries()) {
    tab.addEventListener("click", () => show(tab));
    tab.addEventListener("keydown", event => {
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      show(tabs.at(to % tabs.length), true);
    });
  }
  show(tabs[0]);
}

// Charts: the values under the pointer, or under the cursor that arrow keys move.
const tip = document.getElementById("tip");
const short = value => Number.isFinite(value) ? String(+value.toPrecision(4)) : "–";
for (const svg of document.querySelectorAll("svg[data-chart]")) {
  const { x: name, names, frame, series } = JSON.parse(svg.dataset.chart);
  const [left, right, low, high, top, bottom] = frame;
  const steps = [...new Set(series.flatMap(line => line.points.map(point => point[0])))].sort((a, b) => a - b);
  if (!steps.length) continue;
  const figure = svg.closest("figure");
  const cursor = document.createElementNS(svg.namespaceURI, "line");
  cursor.setAttribute("class", "cursor");
  cursor.setAttribute("y1", top);
  cursor.setAttribute("y2", bottom);
  let at = -1;
  const hide = () => { at = -1; cursor.remove(); tip.hidden = true; };
  const show = index => {
    at = Math.max(0, Math.min(steps.length - 1, index));
    const step = steps[at];
    const place = left + (step - low) / (high - low) * (right - left);
    cursor.setAttribute("x1", place);
    cursor.setAttribute("x2", place);
    svg.append(cursor);
    const lines = [names.length ? names[step] : `${name} ${short(step)}`];
    for (const line of series) {
      const found = line.points.findIndex(point => point[0] === step);
      if (found < 0) continue;
      const between = line.intervals[found];
      const interval = between ? ` [${between.map(short).join(", ")}]` : "";
      lines.push(`${line.name}: ${short(line.points[found][1])}${interval}`);
    }
    tip.textContent = lines.join("\n");
    tip.hidden = false;
    const box = svg.getBoundingClientRect();
    const scale = box.width / svg.viewBox.baseVal.width;
    const across = Math.min(box.left + place * scale + 14, innerWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(8, across) + scrollX}px`;
    tip.style.top = `${box.top + top * scale + scrollY}px`;
  };
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect();
    const place = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    const wanted = low + (place - left) / (right - left) * (high - low);
    let best = 0;
    for (const [index, step] of steps.entries()) {
      if (Math.abs(step - wanted) < Math.abs(steps[best] - wanted)) best = index;
    }
    show(best);
  });
  svg.addEventListener("pointerleave", hide);
  figure.addEventListener("blur", hide);
  figure.addEventListener("keydown", event => {
    const far = Math.max(1, Math.round(steps.length / 20));
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, PageDown: at + far, PageUp: at - far, Home: 0, End: steps.length - 1 }[event.key];
    if (event.key === "Escape") hide();
    if (to === undefined) return;
    event.preventDefault();
    show(to);
  });
}
