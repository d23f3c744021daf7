// The page: what is asked when, and where the answers are shown. All numbers come from the server.

import { ask, forget } from "./ask.js";
import { Pad } from "./board.js";
import { Lesson } from "./lesson.js";
import { $, bars, clear, curves, element, ink, percent, short, signed, units } from "./paint.js";

const UNIT_HINT = $("unit-text").textContent;
const MANY_CLASSES = 12, MAX_UNITS = 640, REST = 250; // milliseconds until what a step does to the others is asked

const state = {
  model: null, // what the server says of it
  picture: null, // {png} or {sample}
  label: null, // what it really is
  steps: [], // taken so far, the newest last
  history: [], // {n, loss, others} after n steps
  look: null,
  corrected: null,
  unit: null, // [layer, unit]
};
const pad = new Pad($("pad"), drawn), lesson = new Lesson();
let resting = 0;

// ---- asking -------------------------------------------------------------------------------------------------------

/** Ask; what is wrong is shown, and null comes back. */
async function answer(kind, body) {
  const found = await ask(kind, body);
  if (found) problem(found.error ?? "");
  return found?.error ? null : found;
}

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

async function look() {
  if (!state.picture) return;
  const { picture, steps } = state, found = await ask("look", { picture, steps });
  if (!found || picture !== state.picture) return;
  problem(found.isFatal ? found.error : "");
  if (found.error) {
    if (!found.isFatal) nothing(found.error);
    return;
  }
  state.look = found;
  showLook();
  if (found.label !== null && state.label === null) choose(found.label);
  else await correct();
  if (state.unit) await unit(...state.unit);
}

async function correct() {
  if (!state.picture || state.label === null) return;
  const asked = step(), found = await answer("correct", { ...asked, steps: state.steps });
  if (!found || asked.picture !== state.picture || asked.label !== state.label) return;
  state.corrected = found;
  noteLoss(found.loss);
  showCorrected();
  clearTimeout(resting);
  resting = setTimeout(others, REST);
}

/** What the step does to the others; and what the steps taken have done, for the curve. */
async function others() {
  if (!state.corrected) return;
  const { steps } = state, isFull = steps.length >= state.model.max_steps;
  const found = await ask("others", { steps: isFull ? steps : [...steps, step()] });
  if (!found || !state.corrected) return;
  if (found.error) return $("step-others").replaceChildren(found.error);
  const of = `of ${found.n.toLocaleString("en")} others, ${found.about}`;
  const change = `${percent(found.before)} → ${percent(found.now)}`;
  $("step-others").replaceChildren(change, element("small", ` right ${of}`, "faint"));
  const last = state.history.at(-1);
  if (!last || last.others !== null) return;
  const now = await ask("others", { steps });
  if (now && !now.error) last.others = now.now;
  showHistory();
}

/** Note the loss after the steps taken: the curve begins when a digit is named, and ends with the next one. */
function noteLoss(loss) {
  const { history, steps } = state, n = steps.length;
  state.history = [...history.filter((one) => one.n < n), history.find((one) => one.n === n) ?? { n, loss, others: null }];
  showHistory();
}

async function unit(layer, number) {
  state.unit = [layer, number];
  paintUnits();
  if (!state.picture) return;
  const found = await answer("unit", { picture: state.picture, steps: state.steps, layer, unit: number });
  if (found && state.unit?.join() === [layer, number].join()) showUnit(found);
}

const step = () => ({ picture: state.picture, label: state.label, learning_rate: rate() });
const rate = () => Number((10 ** Number($("rate").value)).toPrecision(2));

// ---- showing ------------------------------------------------------------------------------------------------------

function showLook() {
  const { look } = state, names = Object.entries(look.probabilities);
  if (names.length > MANY_CLASSES) names.sort((one, other) => other[1] - one[1]).splice(MANY_CLASSES - 2);
  $("sentence").textContent = look.sentence;
  bars($("bars"), names, look.predicted);
  ink($("seen"), look.pixels);
  const size = `${look.pixels.length} × ${look.pixels[0].length} squares`;
  const name = "sample" in state.picture ? `${look.name}, ${size}` : size;
  const warnings = look.warnings.map((text) => element("li", text, "warning"));
  $("warnings").replaceChildren(element("li", name), ...(warnings.length ? warnings : [element("li", "No warnings.")]));
  paintUnits();
}

function nothing(text) {
  state.look = state.corrected = null;
  clear($("seen"));
  clear($("gradient"));
  $("sentence").textContent = text;
  $("warnings").replaceChildren();
  bars($("bars"), noShares());
  clear($("unit-picture"));
  $("unit-text").textContent = UNIT_HINT;
  paintUnits();
  showCorrected();
}

const noShares = () => state.model.classes.slice(0, MANY_CLASSES).map((name) => [name, 0]);

function layerBoxes() {
  $("layers").replaceChildren(
    ...state.model.layers.map((layer, k) => {
      const box = element("figure"), title = element("figcaption"), canvas = element("canvas");
      const isLast = k === state.model.layers.length - 1, activation = isLast ? state.model.output : layer.activation;
      title.append(element("span", layer.name), element("span", `${layer.units} units, ${activation}`));
      canvas.tabIndex = 0;
      canvas.setAttribute("role", "application");
      canvas.setAttribute("aria-label", `${layer.name}: ${layer.units} units; arrow keys choose one`);
      canvas.addEventListener("pointermove", (event) => pointed(k, canvas, event));
      canvas.addEventListener("pointerdown", (event) => pointed(k, canvas, event));
      canvas.addEventListener("keydown", (event) => moved(k, event));
      box.append(title, canvas);
      return box;
    }),
  );
}

const perRow = (n) => (n <= 12 ? 20 : innerWidth < 500 ? 20 : 40); // units beside each other
const values = (k) => state.look?.layers[k].values.slice(0, MAX_UNITS) ?? Array(Math.min(MAX_UNITS, state.model.layers[k].units)).fill(0);

function paintUnits() {
  [...$("layers").querySelectorAll("canvas")].forEach((canvas, k) => {
    const n = values(k).length, across = perRow(n), fired = values(k).filter((value) => value > 0).length;
    units(canvas, values(k), across, state.unit?.[0] === k ? state.unit[1] : -1);
    canvas.dataset.perRow = across;
    const layer = state.model.layers[k], isLast = k === state.model.layers.length - 1;
    if (state.look) canvas.previousSibling.lastChild.textContent = isLast ? `${state.model.output} of ${n} sums` : `${fired} of ${layer.units} fire (${layer.activation})`;
  });
}

function pointed(layer, canvas, event) {
  if (!state.look) return;
  const box = canvas.getBoundingClientRect(), n = Number(canvas.dataset.perRow), side = box.width / n;
  const number = Math.floor((event.clientY - box.top) / side) * n + Math.min(n - 1, Math.floor((event.clientX - box.left) / side));
  if (number >= 0 && number < values(layer).length && state.unit?.join() !== [layer, number].join()) unit(layer, number);
}

function moved(layer, event) {
  const n = Number(event.target.dataset.perRow);
  const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -n, ArrowDown: n }[event.key];
  if (!by || !state.look) return;
  event.preventDefault();
  const number = state.unit?.[0] === layer ? state.unit[1] + by : 0;
  if (number >= 0 && number < values(layer).length) unit(layer, number);
}

function showUnit(found) {
  signed($("unit-picture"), found.weights, "--better", "--worse");
  const isFirst = found.is_direct, name = found.layer === "output" ? `the unit of ${found.name}` : `unit ${found.name} of ${found.layer}`;
  const parts = found.parts.map(([from, input, weight]) => `${isFirst ? "pixel" : "unit"} ${from}: ${short(input)} × ${short(weight)}`);
  const about = isFirst ? "Its weights from the pixels." : "How more ink would move its sum here.";
  const [first, ...rest] = name;
  $("unit-text").textContent =
    `${first.toUpperCase()}${rest.join("")}. ${about}\nIts largest parts: ${parts.slice(0, 3).join(", ")}.\n` +
    `All of them and the bias ${short(found.bias)}: sum ${short(found.total)}, ${found.activation} makes ${short(found.output)} of it.`;
}

function showTruth() {
  for (const button of $("truth").querySelectorAll("button")) button.setAttribute("aria-pressed", button.value === state.label);
  if ($("truth-list")) $("truth-list").value = state.label ?? "";
}

function showCorrected() {
  const found = state.corrected, isThere = found !== null;
  $("blame").hidden = !isThere;
  $("blame-none").hidden = isThere;
  $("take").disabled = $("start-lesson").disabled = !isThere;
  $("take").disabled ||= state.steps.length >= state.model.max_steps;
  $("again").disabled = !state.steps.length || state.steps.length >= state.model.max_steps;
  $("undo").disabled = $("forget").disabled = !state.steps.length;
  $("keep").disabled = state.label === null || !state.picture || "sample" in state.picture;
  $("n-steps").textContent = state.steps.length ? `${state.steps.length} of at most ${state.model.max_steps} steps taken` : "";
  if (!isThere) return hideCorrected();
  $("loss").className = "figure";
  const of = found.n_networks > 1 ? `Network 1 of ${found.n_networks}: ${found.member_sentence}.` : "";
  $("loss").replaceChildren("loss ", element("b", short(found.loss, 4)), ` = ${found.lesson[1].formula.replace("loss = ", "")}. ${of}`);
  bars($("shares"), found.layers.map((layer) => [layer.name, layer.blame_share]).reverse());
  signed($("gradient"), found.input_gradient, "--worse", "--better");
  showWeights(found);
  const end = found.new_loss === null ? "no longer a number" : short(found.new_loss);
  const verdict = found.overshoots ? element("b", " overshoots", "worse") : "";
  $("step-loss").replaceChildren(`${short(found.loss)} → ${end}, forecast ${short(found.forecast_loss)}`, verdict);
  $("step-guess").textContent = found.sentence;
  if (lesson.isOn) lesson.show(found.lesson);
}

function hideCorrected() {
  $("loss").className = "figure faint";
  $("loss").textContent = state.picture ? "Press what it is, and see how wrong the guess was." : "Draw something; then press what it is, and see how wrong the guess was.";
  for (const id of ["step-loss", "step-guess", "step-others"]) $(id).textContent = "–";
  $("shares").replaceChildren();
  $("weights").tBodies[0].replaceChildren();
  clear($("gradient"));
  lesson.end();
}

function showWeights(found) {
  const seen = new Map();
  for (const weight of found.weights) seen.set(weight.layer, [...(seen.get(weight.layer) ?? []), weight]);
  const rows = [...seen.values()].flatMap((weights) => weights.slice(0, seen.size > 3 ? 1 : 2));
  $("weights").tBodies[0].replaceChildren(
    ...rows.slice(0, 8).map((weight) => {
      const row = element("tr"), from = weight.layer === "layer 1" && weight.source !== "bias" ? `pixel ${weight.source}` : weight.source;
      const cells = [`${weight.layer}: ${from} → ${weight.target}`, short(weight.input), short(weight.delta), short(weight.gradient)];
      row.append(...cells.map((text) => element("td", text)));
      row.title = `weight ${short(weight.weight, 5)} → ${short(weight.new_weight, 5)}`;
      return row;
    }),
  );
}

function showHistory() {
  const { history } = state, most = Math.max(...history.map((one) => one.loss), 1e-9);
  $("progress").hidden = history.length < 2;
  let right = 1;
  const others = history.map((one) => (right = one.others ?? right));
  curves($("history"), [["--worse", history.map((one) => one.loss / most)], ["--accent", others]]);
}

// ---- doing --------------------------------------------------------------------------------------------------------

function drawn() {
  $("hint").hidden = true;
  state.picture = { png: pad.png() };
  state.label = null;
  afresh();
}

/** Another picture: what was said of the last one is gone; the steps taken stay. */
function afresh() {
  clearTimeout(resting);
  forget("look", "correct", "unit", "others");
  state.corrected = null;
  state.history = [];
  showTruth();
  showHistory();
  showCorrected();
  look();
}

function wipe() {
  pad.clear();
  $("hint").hidden = false;
  state.picture = state.label = state.unit = null;
  forget("look", "correct", "unit", "others");
  nothing("Draw something, and I will say what it is.");
  showTruth();
}

function choose(label) {
  state.label = label;
  state.history = [];
  showTruth();
  correct();
}

function take(taken) {
  state.steps = [...state.steps, taken];
  look();
}

function undo(n) {
  state.steps = state.steps.slice(0, state.steps.length - n);
  if (state.picture) look();
  else showCorrected();
}

async function showSample(number) {
  $("sample").value = number;
  const picture = { sample: number };
  const found = await answer("look", { picture, steps: state.steps });
  if (!found) return;
  const canvas = element("canvas");
  ink(canvas, found.pixels);
  pad.show(canvas);
  $("hint").hidden = true;
  Object.assign(state, { picture, label: null });
  afresh();
}

async function takeFile(file) {
  if (!file) return;
  const found = await answer("picture", file);
  if (!found) return;
  const image = new Image();
  image.src = `data:image/png;base64,${found.png}`;
  await image.decode();
  pad.show(image);
  $("hint").hidden = true;
  Object.assign(state, { picture: { png: found.png }, label: null });
  afresh();
}

async function keep() {
  const found = await answer("keep", { picture: state.picture, label: state.label });
  if (!found) return;
  $("kept-text").textContent = `Saved as ${found.path}; ${found.n_kept} ${found.n_kept === 1 ? "drawing" : "drawings"} so far. Nothing is overwritten.`;
  $("kept-command").textContent = teaching();
  $("kept").showModal();
}

/** Begin to train on with the drawings, and look on. */
async function teach() {
  $("teach").disabled = true;
  const found = await answer("teach");
  $("teach").disabled = false;
  if (found) return location.assign("watch");
  $("kept").close();
}

/** Return the command that trains on with the drawings. */
function teaching() {
  const quoted = (text) => (/^[\w./=:-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  return `backprop train --from ${quoted(state.model.reference)} --set ${quoted(`data.extra=${state.model.keeping.folder}`)}`;
}

// ---- keys -----------------------------------------------------------------------------------------------------------

function pressed(event) {
  const isTyping = event.target.matches?.("input, select, canvas");
  if (event.key === "Escape" && lesson.isOn && !document.querySelector("[popover]:popover-open, dialog[open]")) lesson.end();
  const isWiping = event.key === "Delete" || event.key === "Backspace";
  if (isWiping && (!isTyping || event.target === $("pad"))) wipe();
  if (isTyping || !lesson.isOn || !["ArrowLeft", "ArrowRight"].includes(event.key)) return;
  event.preventDefault();
  lesson.turn(event.key === "ArrowRight" ? 1 : -1);
}

// ---- the beginning ------------------------------------------------------------------------------------------------

function truthButtons(classes) {
  if (classes.length > MANY_CLASSES) {
    const list = Object.assign(element("select"), { id: "truth-list" });
    list.append(...["", ...classes].map((name) => Object.assign(element("option", name), { value: name })));
    list.setAttribute("aria-label", "What it really is");
    list.addEventListener("change", () => state.picture && list.value && choose(list.value));
    return [list];
  }
  return classes.map((name) => {
    const button = Object.assign(element("button", name), { type: "button", value: name });
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => state.picture && choose(name));
    return button;
  });
}

function listen() {
  const on = (id, kind, act) => $(id).addEventListener(kind, act);
  on("clear", "click", wipe);
  on("open", "click", () => $("file").click());
  on("file", "change", () => takeFile($("file").files[0]).then(() => ($("file").value = "")));
  on("keep", "click", keep);
  on("samples", "submit", (event) => (event.preventDefault(), showSample(Number($("sample").value))));
  on("hardest", "click", async () => {
    const found = await answer("hardest");
    if (found) showSample(found.sample);
  });
  on("rate", "input", () => {
    $("rate-text").textContent = short(rate(), 2);
    correct();
  });
  on("take", "click", () => take(step()));
  on("again", "click", () => take(state.steps.at(-1)));
  on("undo", "click", () => undo(1));
  on("forget", "click", () => undo(state.steps.length));
  on("start-lesson", "click", () => lesson.begin(state.corrected.lesson));
  on("lesson-back", "click", () => lesson.turn(-1));
  on("lesson-on", "click", () => lesson.turn(1));
  on("lesson-end", "click", () => lesson.end());
  on("teach", "click", teach);
  on("copy", "click", () => {
    getSelection().selectAllChildren($("kept-command")); // where there is no clipboard, as without https, it is chosen
    navigator.clipboard?.writeText($("kept-command").textContent);
  });
  document.addEventListener("keydown", pressed);
  document.addEventListener("paste", (event) => takeFile([...event.clipboardData.files][0]));
  document.addEventListener("dragover", (event) => (event.preventDefault(), $("pad").parentElement.classList.add("over")));
  document.addEventListener("dragleave", () => $("pad").parentElement.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    $("pad").parentElement.classList.remove("over");
    takeFile(event.dataTransfer.files[0]);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => state.picture && look());
}

async function begin() {
  const model = await answer("model");
  if (!model) return;
  state.model = model;
  const n = model.n_networks, of = n > 1 ? ` in ${n} networks` : "";
  $("model").textContent = `${model.reference}: ${model.n_parameters.toLocaleString("en")} weights and biases${of}`;
  $("member").textContent = n > 1 ? `in network 1 of ${n}` : "";
  $("watch").hidden = !model.is_watched;
  $("teach").hidden = !model.keeping.can_teach;
  $("samples").hidden = !model.has_samples;
  $("truth").replaceChildren(...truthButtons(model.classes));
  bars($("bars"), noShares());
  layerBoxes();
  paintUnits();
  showCorrected();
  listen();
  document.body.dataset.ready = "yes";
}

begin();
