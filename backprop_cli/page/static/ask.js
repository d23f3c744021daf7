// Questions to the server: one at a time, and of each kind only the newest that waits.

const STORED = "token:" + location.host;
const token = location.hash.slice(1) || sessionStorage.getItem(STORED) || "";
if (token) sessionStorage.setItem(STORED, token); // a reload needs it again
if (location.hash) history.replaceState(null, "", location.pathname); // nobody reads it off the screen

const KINDS = ["model", "picture", "keep", "teach", "draw", "train", "blind", "hardest", "look", "correct", "unit", "others"]; // the first goes first
const waiting = new Map();
let isBusy = false;

/** Ask for something; resolves to null where a newer question of the same kind took its place. */
export function ask(kind, body = {}) {
  waiting.get(kind)?.resolve(null);
  return new Promise((resolve) => {
    waiting.set(kind, { body, resolve });
    next();
  });
}

/** Drop what waits, such as what is asked about a drawing that is gone. */
export function forget(...kinds) {
  for (const kind of kinds) {
    waiting.get(kind)?.resolve(null);
    waiting.delete(kind);
  }
}

/** Let the page show whether an answer is still to come. */
function tell() {
  document.documentElement.toggleAttribute("data-asking", isBusy || waiting.size > 0);
}

async function next() {
  tell();
  const kind = isBusy ? undefined : KINDS.find((one) => waiting.has(one));
  if (kind === undefined) return;
  const { body, resolve } = waiting.get(kind);
  waiting.delete(kind);
  isBusy = true;
  resolve(await fetched(kind, body));
  isBusy = false;
  next();
}

async function fetched(kind, body) {
  const isFile = body instanceof Blob;
  const headers = { "X-Token": token, "Content-Type": isFile ? "application/octet-stream" : "application/json" };
  try {
    const answer = await fetch(`api/${kind}`, { method: "POST", headers, body: isFile ? body : JSON.stringify(body) });
    if (answer.ok) return await answer.json();
    const why = { 403: "open the whole address that the terminal shows", 413: "that is too large" };
    return { error: why[answer.status] ?? `the server refused (${answer.status})`, isFatal: true };
  } catch {
    return { error: "the server has ended; start it again", isFatal: true };
  }
}
