// The lesson: guess, loss, blame and correction light up in turn, a sentence and a formula each.

import { $, element } from "./paint.js";

export class Lesson {
  lines = [];
  at = null; // the line that is lit

  get isOn() {
    return this.at !== null;
  }

  begin(lines) {
    this.at = 0;
    this.show(lines);
    $("lesson-on").focus();
  }

  /** Show the same line of what is true now. */
  show(lines) {
    const line = lines[this.at];
    this.lines = lines;
    $("lesson").hidden = false;
    $("lesson-keys").replaceChildren(
      ...lines.map((one) => {
        const key = element("li", one.key);
        if (one === line) key.setAttribute("aria-current", "step");
        return key;
      }),
    );
    $("lesson-text").textContent = line.text;
    $("lesson-formula").textContent = line.formula;
    $("lesson-back").disabled = this.at === 0;
    $("lesson-on").disabled = this.at === lines.length - 1;
    light(line.key);
  }

  turn(by) {
    const at = this.at + by;
    if (at < 0 || at >= this.lines.length) return;
    this.at = at;
    this.show(this.lines);
  }

  end() {
    this.at = null;
    $("lesson").hidden = true;
    light(null);
  }
}

function light(key) {
  for (const panel of document.querySelectorAll("[data-lesson]")) {
    panel.classList.toggle("lit", panel.dataset.lesson === key);
    if (panel.dataset.lesson === key) panel.scrollIntoView({ block: "nearest" });
  }
}
