// A training is watched: the page asks for a little more of it, and shows how things stand. All numbers come from the server.

import { ask } from "./ask.js";
import { $, bars, curves, element, ink, percent, short, signed } from "./paint.js";

const MANY_CLASSES = 10, FLOOR = 1e-6, LOOK_AGAIN = 1000; // milliseconds, where somebody else may be at the wheel
const PAUSE = 220; // milliseconds after each epoch that is to be seen
const MOVES = ["go", "epoch", "step", "hardest"];

let found = null; // what was last said
let mode = "look"; // what goes on: look, go or epoch
let rate = null; // set by hand, to be sent
let isSetting = false;

const problem = (text) => (($("problem").textContent = text), ($("problem").hidden = !text));

/** Ask for a move and show what comes of it; returns whether that went well. */
async function move(kind) {
  const question = rate === null ? { do: kind } : { do: kind, learning_rate: rate };
  rate = null;
  const before = found?.n_finished, next = await ask("train", question);
  if (!next) return true; // a newer question took its place
  problem(next.error ?? "");
  if (next.error) mode = "look";
  else found = next;
  if (mode === "epoch" && before !== found?.n_finished) mode = "look";
  if (found?.is_over) mode = "look";
  if (found) show();
  return !next.error;
}

/** Go on as long as the user wants. */
async function goOn(wanted) {
  const isRunning = mode !== "look";
  mode = wanted;
  show();
  if (isRunning) return;
  while (mode !== "look") {
    const isSlow = mode === "go" && $("slowly").checked, n = found.n_finished;
    if (!(await move(isSlow ? "epoch" : mode))) return;
    if (isSlow && found.n_finished !== n) await new Promise((resolve) => setTimeout(resolve, PAUSE));
  }
}

// ---- showing ------------------------------------------------------------------------------------------------------

function show() {
  const { is_over: isOver, has_model: hasModel } = found;
  for (const id of [...MOVES, "rate"]) $(id).disabled = isOver;
  $("go").textContent = mode === "look" ? "Go" : "Pause";
  $("draw").disabled = !hasModel;
  $("draw").textContent = isOver ? "Draw" : "End and draw";
  $("blind").disabled ||= !isOver;
  if (isOver && !$("blind").dataset.asked) $("blind").disabled = !hasModel;
  $("model").textContent = found.run ?? "not written";
  $("model").title = found.about;
  const network = found.n_members > 1 ? `network ${found.member} of ${found.n_members}, ` : "";
  const ready = found.epoch || mode === "look" ? "" : "getting ready … ";
  const loss = found.train_loss === null ? "" : `, training loss ${short(found.train_loss)}`;
  const byHand = found.is_repeatable ? "" : "; the learning rate was set by hand, so that it cannot be verified";
  $("status").textContent = `${ready}${network}epoch ${found.epoch} of ${found.n_epochs}${found.share < 1 ? ` (${percent(found.share)})` : ""}${loss}, ${found.seconds.toFixed(1)} s${byHand}`;
  $("said").textContent = found.said;
  $("said").hidden = !found.said;
  showTaught(found.taught);
  $("panel-blind").hidden = found.taught !== null; // it begins with random weights
  if (!isSetting) {
    $("rate").value = Math.log10(found.learning_rate);
    $("rate-text").textContent = short(found.learning_rate, 2);
  }
  showCurves(found.history);
  showDigit(found.digit);
  showUnits(found.units);
}

function showTaught(taught) {
  $("taught").hidden = !taught;
  if (!taught) return;
  const { n, before, after, others } = taught;
  const now = after === null ? "" : `, ${after} after it`;
  const rest = others ? ` Of ${others.n.toLocaleString("en")} others (${others.about}) ${percent(others.before)} before, ${percent(others.now)} after.` : "";
  $("taught").textContent = `Of your ${n} ${n === 1 ? "drawing" : "drawings"}, ${before} read correctly before the teaching${now}.${rest}`;
}

/** Return how high a loss stands between the least and the most, on a logarithmic scale. */
function height(losses) {
  const logs = losses.filter((loss) => loss !== null).map((loss) => Math.log(Math.max(loss, FLOOR)));
  const least = Math.min(...logs), range = Math.max(...logs) - least || 1;
  return (loss) => (loss === null ? 1 : (Math.log(Math.max(loss, FLOOR)) - least) / range);
}

function showCurves(all) {
  const history = all.filter((one) => one.member === all.at(-1).member); // of the network in training
  const column = (key) => history.map((one) => one[key]);
  const train = column("train_loss"), val = column("val_loss"), hasVal = val.some((loss) => loss !== null);
  const losses = [...train, ...val].filter((loss) => loss !== null), high = height(losses);
  $("with-val").hidden = !hasVal && history.length > 0;
  const lines = hasVal ? [["--better", val.map(high)], ["--accent", column("val_accuracy")]] : [];
  curves($("curves"), history.length ? [["--worse", train.map(high)], ...lines] : []);
  const last = history.at(-1);
  if (!losses.length) return;
  $("scale").textContent = `log scale, ${short(Math.min(...losses), 2)} to ${short(Math.max(...losses), 2)}`;
  $("read").textContent = last.val_accuracy === null ? "" : `: ${percent(last.val_accuracy)}`;
}

function showDigit(digit) {
  ink($("digit"), digit.pixels);
  const isRight = digit.guess === digit.label, verdict = element("b", digit.guess, isRight ? "accent" : "worse");
  $("digit-text").replaceChildren(`${digit.name}: a ${digit.label}, taken for `, verdict);
  const names = Object.entries(digit.probabilities);
  if (names.length > MANY_CLASSES) names.sort((one, other) => other[1] - one[1]).splice(MANY_CLASSES);
  bars($("bars"), names, digit.guess);
}

function showUnits(units) {
  const box = $("filters");
  while (box.children.length < units.length) {
    const canvas = box.appendChild(element("canvas"));
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Weights of unit ${box.children.length}`);
  }
  units.forEach((rows, k) => signed(box.children[k], rows, "--better", "--worse"));
  $("n-units").textContent = `${units.length} units`;
}

// ---- the blind sculptor -------------------------------------------------------------------------------------------

async function blind() {
  $("blind").disabled = true;
  $("blind").dataset.asked = "yes";
  for (let isOver = false; !isOver; ) {
    const told = await ask("blind");
    if (!told || told.error) return told && problem(told.error);
    isOver = told.is_over;
    showBlind(told);
  }
}

function showBlind(told) {
  const accuracies = told.val_accuracy === null ? "" : `: ${percent(told.val_accuracy)} of the validation digits read, with the gradient ${percent(told.trained_val_accuracy)}`;
  $("blind-text").textContent = `${told.guesses.toLocaleString("en")} nudges in ${told.seconds.toFixed(1)} of ${told.trained_seconds.toFixed(1)} s, ${told.kept.toLocaleString("en")} kept${accuracies}`;
  $("blind-there").hidden = false;
  const { history } = found, time = Math.max(told.trained_seconds, history.at(-1)?.seconds ?? 0, told.seconds) || 1;
  const own = history.map((one) => one.train_loss), his = told.curve.map((point) => point[2]), high = height([...own, ...his]);
  curves($("blind-curves"), [
    ["--worse", own.map(high), history.map((one) => one.seconds / time)],
    ["--accent", his.map(high), told.curve.map((point) => point[1] / time)],
  ]);
}

// ---- the beginning ------------------------------------------------------------------------------------------------

async function draw() {
  mode = "look";
  if (!found.is_over && !(await move("end"))) return;
  const answer = await ask("draw");
  if (answer?.error) return problem(answer.error);
  location.assign("./");
}

function pressed(event) {
  const id = { " ": "go", e: "epoch", s: "step" }[event.key.toLowerCase()];
  if (!id || event.ctrlKey || event.metaKey || event.altKey || (event.key === " " && event.target.matches?.("button, input"))) return;
  event.preventDefault();
  $(id).click();
}

function listen() {
  const on = (id, kind, act) => $(id).addEventListener(kind, act);
  on("go", "click", () => (mode === "look" ? goOn("go") : ((mode = "look"), show())));
  on("epoch", "click", () => goOn("epoch"));
  on("step", "click", () => ((mode = "look"), move("step")));
  on("hardest", "click", () => move("hardest"));
  on("blind", "click", blind);
  on("draw", "click", draw);
  on("rate", "input", () => {
    isSetting = true;
    rate = Number((10 ** Number($("rate").value)).toPrecision(2));
    $("rate-text").textContent = short(rate, 2);
  });
  on("rate", "change", () => {
    isSetting = false;
    if (mode === "look") move("look");
  });
  document.addEventListener("keydown", pressed);
  const isIdle = () => mode === "look" && !isSetting && !found.is_over && !document.hidden;
  setInterval(() => isIdle() && !document.documentElement.hasAttribute("data-asking") && move("look"), LOOK_AGAIN);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
}

async function begin() {
  if (!(await move("look")) || !found) return;
  listen();
  document.body.dataset.ready = "yes";
}

begin();
