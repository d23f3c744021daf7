const DATA = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const all = selector => [...document.querySelectorAll(selector)];

// ---- one slider sets the epoch in every chart ----------------------------------------------------------------------

const PERCENT = /val_accuracy|dead_share/;

/** The last epoch of a run that is not behind this one, as a row of its series. */
function rowOf(series, epoch) {
  const k = series.epoch.findLastIndex(value => value <= epoch);
  return series.epoch.at(-1) < epoch ? -1 : k;
}

function shown(value, column) {
  if (value === null || value === undefined) return "-";
  if (PERCENT.test(column)) return `${(100 * value).toFixed(1)} %`;
  return value !== 0 && (value < 0.001 || value >= 10000) ? value.toExponential(1) : value.toPrecision(3);
}

function setEpoch(epoch) {
  $("shown").textContent = epoch;
  for (const value of all("[data-key]")) {
    const [run, member, ...column] = value.dataset.key.split("."), name = column.join(".");
    const series = DATA.series[run][member];
    value.textContent = shown(series[name][rowOf(series, epoch)], name);
  }
  for (const cursor of all(".cursor")) {
    const [low, high, start, end] = cursor.dataset.x.split(" ").map(Number);
    const x = start + (epoch - low) / (high - low) * (end - start);
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
  }
}

if ($("epoch")) {
  $("epoch").addEventListener("input", () => setEpoch(Number($("epoch").value)));
  setEpoch(Number($("epoch").value));
}

// ---- a cell of the confusion matrix opens its pictures -------------------------------------------------------------

for (const link of all('a[href^="#cell-"]')) {
  link.addEventListener("click", event => {
    event.preventDefault();
    const cell = $(link.getAttribute("href").slice(1)), wasOpen = cell.classList.contains("open");
    all(".cell.open, a.on").forEach(other => other.classList.remove("open", "on"));
    if (wasOpen) return;
    cell.classList.add("open");
    link.classList.add("on");
    cell.scrollIntoView({ block: "nearest" });
  });
}

window.addEventListener("beforeprint", () => all("details").forEach(details => { details.open = true; }));

// ---- play: click pixels, and the network guesses again -------------------------------------------------------------

if (DATA.network && $("board")) {
  const network = unpacked(DATA.network), [height, width] = network.picture, board = $("board");
  let ink = [...DATA.ink], at = 0, pen = null;
  const squares = ink.map((_, k) => {
    const square = document.createElementNS(board.namespaceURI, "rect");
    const place = { x: k % width, y: Math.floor(k / width), width: 1, height: 1, fill: "var(--ink)" };
    for (const [name, value] of Object.entries(place)) square.setAttribute(name, value);
    return board.appendChild(square);
  });

  const guess = () => {
    squares.forEach((square, k) => {
      square.setAttribute("fill-opacity", ink[k]);
      square.classList.toggle("at", k === at);
    });
    const answers = forward(network, ink).probabilities;
    const best = answers.indexOf(Math.max(...answers));
    const percent = p => `${(p >= 1 ? 100 : Math.min(100 * p, 99.9)).toFixed(1)} %`;
    $("guess").textContent = `${percent(answers[best])} sure: ${network.classes[best]}`;
    const order = answers.map((_, k) => k);
    if (order.length > 20) order.sort((a, b) => answers[b] - answers[a]).splice(10);
    $("bars").replaceChildren(...order.flatMap(k => {
      const [name, bar, value] = ["span", "i", "span"].map(tag => document.createElement(tag));
      [name.textContent, value.textContent] = [network.classes[k], percent(answers[k])];
      bar.style.width = `${100 * answers[k]}%`;
      return [name, bar, value];
    }));
  };
  const paint = k => {
    at = k;
    ink[k] = pen;
    guess();
  };
  const pixel = event => {
    const box = board.getBoundingClientRect();
    const x = Math.floor((event.clientX - box.left) / box.width * width);
    const y = Math.floor((event.clientY - box.top) / box.height * height);
    return x >= 0 && x < width && y >= 0 && y < height ? y * width + x : null;
  };
  board.addEventListener("pointerdown", event => {
    const k = pixel(event);
    if (k === null) return;
    pen = ink[k] < 0.5 ? 1 : 0;
    paint(k);
  });
  board.addEventListener("pointermove", event => {
    const k = pixel(event);
    if (pen !== null && k !== null && ink[k] !== pen) paint(k);
  });
  window.addEventListener("pointerup", () => { pen = null; });
  board.addEventListener("keydown", event => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -width, ArrowDown: width }[event.key];
    if (step === undefined && event.key !== " ") return;
    event.preventDefault();
    if (step === undefined) ink[at] = ink[at] < 0.5 ? 1 : 0;
    else if (at + step >= 0 && at + step < ink.length) at += step;
    guess();
  });
  $("reset").addEventListener("click", () => { ink = [...DATA.ink]; guess(); });
  $("clear").addEventListener("click", () => { ink.fill(0); guess(); });
  guess();
}
