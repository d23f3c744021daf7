// The pad: strokes of mouse, finger, pen or arrow keys, or a picture; what is sent is black on white, 112 pixels wide.

const SIDE = 112, WIDTH = 0.072; // pixels that are sent; the pen's width as a share of the side
const KEY_STEP = 0.04;

export class Pad {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.strokes = [];
    this.image = null; // a picture in place of strokes
    this.pointer = null;
    this.pen = { x: 0.5, y: 0.15, isDown: false, isShown: false };
    for (const name of ["pointerdown", "pointermove", "pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => this[name](event));
    }
    canvas.addEventListener("keydown", (event) => this.keydown(event));
    canvas.addEventListener("blur", () => this.movePen({ isShown: false, isDown: false }));
    new ResizeObserver(() => this.paint()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
  }

  get isEmpty() {
    return this.strokes.length === 0;
  }

  clear() {
    this.strokes = [];
    this.image = null;
    this.pointer = null;
    this.paint();
  }

  /** Show a picture that is not drawn here. */
  show(image) {
    this.clear();
    this.image = image;
    this.paint();
  }

  /** Return the drawing as the content of a PNG file, in base64. */
  png() {
    const paper = Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE });
    const pen = paper.getContext("2d");
    pen.fillStyle = "white";
    pen.fillRect(0, 0, SIDE, SIDE);
    this.draw(pen, SIDE, "black");
    return paper.toDataURL("image/png").split(",")[1];
  }

  draw(pen, side, color) {
    Object.assign(pen, { strokeStyle: color, lineWidth: WIDTH * side, lineCap: "round", lineJoin: "round" });
    for (const stroke of this.strokes) {
      pen.beginPath();
      pen.moveTo(stroke[0][0] * side, stroke[0][1] * side);
      if (stroke.length === 1) pen.lineTo(stroke[0][0] * side + 0.01, stroke[0][1] * side);
      for (let k = 1; k < stroke.length; k++) {
        const [x, y] = stroke[k], [px, py] = stroke[k - 1];
        pen.quadraticCurveTo(px * side, py * side, ((px + x) / 2) * side, ((py + y) / 2) * side);
      }
      const [x, y] = stroke.at(-1);
      pen.lineTo(x * side, y * side);
      pen.stroke();
    }
  }

  paint() {
    const side = this.canvas.clientWidth * (window.devicePixelRatio || 1);
    const style = getComputedStyle(document.documentElement);
    this.canvas.width = this.canvas.height = side;
    const pen = this.canvas.getContext("2d");
    if (this.image) {
      const fit = (0.9 * side) / Math.max(this.image.width, this.image.height);
      const width = this.image.width * fit, height = this.image.height * fit;
      pen.imageSmoothingEnabled = this.image.width > 64;
      pen.drawImage(this.image, (side - width) / 2, (side - height) / 2, width, height);
    }
    this.draw(pen, side, style.getPropertyValue("--ink"));
    if (!this.pen.isShown) return;
    pen.beginPath();
    pen.arc(this.pen.x * side, this.pen.y * side, 0.04 * side, 0, 7);
    Object.assign(pen, { strokeStyle: style.getPropertyValue("--accent"), lineWidth: 0.01 * side });
    pen.stroke();
  }

  add(points, isNew) {
    if (this.image) this.clear();
    if (isNew || this.isEmpty) this.strokes.push([]);
    this.strokes.at(-1).push(...points);
    this.paint();
    this.changed();
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  pointerdown(event) {
    if (this.pointer !== null || event.button > 0) return;
    this.pointer = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);
    this.add([this.place(event)], true);
  }

  pointermove(event) {
    if (event.pointerId !== this.pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    this.add((events.length ? events : [event]).map((one) => this.place(one)), false);
  }

  pointerup(event) {
    if (event.pointerId === this.pointer) this.pointer = null;
  }

  pointercancel(event) {
    this.pointerup(event);
  }

  keydown(event) {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (way) {
      const at = (value, by) => Math.min(0.96, Math.max(0.04, value + by * KEY_STEP));
      this.movePen({ x: at(this.pen.x, way[0]), y: at(this.pen.y, way[1]), isShown: true });
      if (this.pen.isDown) this.add([[this.pen.x, this.pen.y]], false);
    } else if (event.key === " ") {
      this.movePen({ isDown: !this.pen.isDown, isShown: true });
      if (this.pen.isDown) this.add([[this.pen.x, this.pen.y]], true);
    } else return;
    event.preventDefault();
  }

  movePen(change) {
    Object.assign(this.pen, change);
    this.paint();
  }
}
