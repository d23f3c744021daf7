// Numbers drawn: pictures of ink, signed pictures, units, bars, small curves. Text is only ever set as text.

export const $ = (id) => document.getElementById(id);

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Return a color of the page as [r, g, b]. */
function rgb(name) {
  const hex = css(name);
  return [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
}

const mix = (from, to, share) => from.map((part, k) => Math.round(part + (to[k] - part) * share));

function pixels(canvas, rows, colorOf) {
  const height = rows.length, width = rows[0].length, image = new ImageData(width, height);
  rows.flat().forEach((value, k) => image.data.set([...colorOf(value), 255], 4 * k));
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(image, 0, 0);
  canvas.dataset.drawn = "yes";
}

export function clear(canvas) {
  canvas.width = canvas.height = 1;
  delete canvas.dataset.drawn;
}

/** Draw ink from 0 to 1. */
export function ink(canvas, rows) {
  const ground = rgb("--ground"), full = rgb("--ink");
  pixels(canvas, rows, (value) => mix(ground, full, Math.min(1, Math.max(0, value))));
}

/** Draw signed numbers: above 0 in one color, below in another. */
export function signed(canvas, rows, above, below) {
  const ground = rgb("--ground"), colors = [rgb(above), rgb(below)];
  const most = Math.max(...rows.flat().map(Math.abs)) || 1;
  pixels(canvas, rows, (value) => mix(ground, colors[value > 0 ? 0 : 1], Math.abs(value) / most));
}

/** Draw the units of a layer as squares, so many a row, one of them chosen. */
export function units(canvas, values, perRow, chosen, step = 12) {
  const scale = window.devicePixelRatio || 1, nRows = Math.ceil(values.length / perRow);
  canvas.width = perRow * step * scale;
  canvas.height = nRows * step * scale;
  const pen = canvas.getContext("2d"), silent = rgb("--soft"), full = rgb("--accent"), negative = rgb("--worse");
  const most = Math.max(...values.map(Math.abs)) || 1;
  pen.scale(scale, scale);
  values.forEach((value, k) => {
    const x = (k % perRow) * step, y = Math.floor(k / perRow) * step;
    pen.fillStyle = `rgb(${mix(silent, value > 0 ? full : negative, Math.abs(value) / most).join(" ")})`;
    pen.fillRect(x + 0.5, y + 0.5, step - 1, step - 1);
    if (k !== chosen) return;
    pen.strokeStyle = css("--lit");
    pen.lineWidth = 2;
    pen.strokeRect(x + 1, y + 1, step - 2, step - 2);
  });
}

export function element(kind, text = "", className = "") {
  const made = document.createElement(kind);
  made.textContent = text;
  made.className = className;
  return made;
}

/** Show named shares as bars; lines that are there are changed, so that they move. */
export function bars(box, shares, best) {
  while (box.children.length > shares.length) box.lastChild.remove();
  shares.forEach(([name, share], k) => {
    const line = box.children[k] ?? box.appendChild(barLine());
    const [label, bar, number] = line.children;
    line.classList.toggle("best", name === best);
    label.textContent = name;
    bar.firstChild.style.width = `${100 * share}%`;
    number.textContent = percent(share);
  });
}

function barLine() {
  const line = element("div", "", "line"), bar = element("span", "", "bar");
  bar.append(element("i"));
  line.append(element("span", "", "name"), bar, element("span", "", "share"));
  return line;
}

const MAX_DOTS = 60; // of a curve

/** Draw curves over each other, of numbers from 0 to 1, as [color, numbers, places from 0 to 1]; of few, with dots. */
export function curves(svg, lines) {
  const { width, height } = svg.viewBox.baseVal;
  const made = (kind, facts) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", kind);
    for (const [name, value] of Object.entries(facts)) node.setAttribute(name, value);
    return node;
  };
  svg.replaceChildren(
    ...lines.flatMap(([color, values, places]) => {
      const at = (k) => places?.[k] ?? k / Math.max(1, values.length - 1);
      const points = values.map((value, k) => [(6 + (width - 12) * at(k)).toFixed(1), (height - 6 - (height - 12) * value).toFixed(1)]);
      const line = made("polyline", { points: points.map((point) => point.join()).join(" ") });
      const dots = points.length > MAX_DOTS ? [] : points.map(([cx, cy]) => made("circle", { cx, cy, r: 3 }));
      line.style.stroke = `var(${color})`;
      for (const dot of dots) dot.style.fill = `var(${color})`;
      return [line, ...dots];
    }),
  );
}

export const percent = (share) => `${(share >= 1 ? 100 : Math.min(100 * share, 99.9)).toFixed(1)} %`;

/** Return a number with so many digits that count, as people write it. */
export function short(number, digits = 3) {
  if (number === null || !Number.isFinite(number)) return "no number";
  const size = Math.abs(number);
  const text = size !== 0 && (size < 1e-3 || size >= 1e5) ? number.toExponential(digits - 1) : Number(number.toPrecision(digits)).toString();
  return text.replace("-", "−");
}
