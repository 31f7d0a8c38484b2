"use strict";
// Everything from the server goes onto the page as text, never as markup.

const POLL_MS = 1000;
const ROWS_MAX = 1000;
const ENTRIES_MAX = 300;
const $ = (selector, from = document) => from.querySelector(selector);

const TONES = {
  started: "up", stopped: "down", paused: "down", archived: "cold", destroyed: "", error: "bad", build_failed: "bad",
  unknown: "bad",
};
const ACTS = [
  ["start", "start", {}], ["stop", "stop", {}], ["archive", "archive", {}], ["recover", "recover", {}],
  ["release", "release", {}],
  ["break", "break", { recoverable: false }], ["break, recoverable", "break", { recoverable: true }],
  ["build-failed", "build-failed", {}],
  ["delete", "delete", {}],
];
/** The class of each cell of a row, and its name on a narrow screen, where there are no columns. */
const CELLS = [
  ["name", ""], ["state-cell", "State"], ["desired", "Desired"], ["time", "Age"], ["time", "Active"],
  ["timers", "Timers"], ["", ""],
];
const RULE = (operation, effect, more = {}) => ({ match: { operation, name: null }, effect, times: 1, ...more });
const TEMPLATES = {
  "create: done, but answers 502": RULE("create", { kind: "status_after", status: 502 }),
  "create: done, reply lost": RULE("create", { kind: "drop_after" }),
  "create: connection lost before": RULE("create", { kind: "drop" }),
  "create: 429": RULE("create", { kind: "status", status: 429, headers: { "Retry-After-sandbox-create": "5" } }),
  "create: ends in error": RULE("create", { kind: "fail_transition", recoverable: false }),
  "create: ends in error, recoverable": RULE("create", { kind: "fail_transition", recoverable: true }),
  "create: ends in build_failed": RULE("create", { kind: "build_failed" }),
  "create: stuck until released": RULE("create", { kind: "stuck" }),
  "start: 409 state change in progress": RULE("start", { kind: "conflict", text: "state_change" }, { times: 3 }),
  "start: ends in error, recoverable": RULE("start", { kind: "fail_transition", recoverable: true }),
  "start: stuck until released": RULE("start", { kind: "stuck" }),
  "stop: takes 20 s": RULE("stop", { kind: "slow", seconds: 20 }),
  "delete: done, reply lost": RULE("delete", { kind: "drop_after" }),
  "get: false 404": RULE("get", { kind: "not_found" }, { times: 3 }),
  "get: 5 s old": RULE("get", { kind: "stale", seconds: 5 }, { times: 5 }),
  "get: a field is missing": RULE("get", { kind: "malformed", field: "kvm" }),
  "list: 5 s old": RULE("list", { kind: "stale", seconds: 5 }, { times: 5 }),
  "events: connection refused": RULE("events", { kind: "drop" }),
  "toolbox: 502": RULE("toolbox", { kind: "status", status: 502 }),
  "toolbox: done, reply lost": RULE("toolbox", { kind: "drop_after" }),
  "toolbox: done twice": RULE("toolbox", { kind: "twice" }),
  "toolbox: a followed log is cut": RULE("toolbox", { kind: "cut_log", after: "prefix" }),
  "anything: 503, one in five": RULE("*", { kind: "status", status: 503 }, { times: null, probability: 0.2 }),
  "anything: 2 s late": RULE("*", { kind: "delay", seconds: 2 }, { times: 10 }),
  "anything: never answers": RULE("*", { kind: "hang" }),
};

const rows = new Map();
let sandboxes = [], entries = [], cursor = null, speed = 1;

/** Return a new element with a class and text or children. */
function element(tag, className = "", ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

/** Change a text only when it differs, so that a selection survives. */
function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Replace children only when their data has changed, so that focus and selection survive. */
function redraw(node, key, draw) {
  const text = JSON.stringify(key);
  if (node.dataset.key !== text) {
    node.dataset.key = text;
    node.replaceChildren(...draw());
  }
}

/** Return a duration as 12s, 3m 4s, 2h 5m, 3d 1h. */
function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m ${s % 60}s`;
  if (s < 86400) return `${Math.floor(s / 3600)}h ${Math.floor(s / 60) % 60}m`;
  return `${Math.floor(s / 86400)}d ${Math.floor(s / 3600) % 24}h`;
}
const minutes = (m) => span(m * 60).replace(/ 0[smh]$/, "");
const since = (iso) => iso === null ? NaN : (Date.now() - Date.parse(iso)) / 1000;
const ago = (iso) => iso === null ? "" : span(since(iso));

async function ask(method, path, body) {
  const options = { method, headers: {} };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const reply = await fetch(`/_local${path}`, options);
  const text = await reply.text();
  if (!reply.ok) throw new Error(`${method} ${path}: ${reply.status} ${reason(text)}`);
  return text ? JSON.parse(text) : null;
}

/** Return the message in an error's body. */
function reason(text) {
  try {
    const detail = JSON.parse(text).detail;
    if (typeof detail === "string") return detail;
    return detail.map((each) => `${each.loc.slice(1).join(".")}: ${each.msg}`).join("; ");
  } catch {
    return text.slice(0, 300);
  }
}

function complain(error) {
  put($("#error span"), error.message);
  $("#error").hidden = false;
}

/** Do what a person asked for, show an error, and refresh at once. */
async function attempt(act) {
  try {
    await act();
    $("#error").hidden = true;
  } catch (error) {
    complain(error);
  }
  await refresh();
}

function tone(state) {
  return state in TONES ? TONES[state] : "moving";
}

function matches(sandbox, words) {
  const text = `${sandbox.name} ${sandbox.id} ${sandbox.state} ${JSON.stringify(sandbox.labels)}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

function drawSandboxes() {
  const words = $("#search").value.toLowerCase().split(/\s+/).filter(Boolean);
  const gone = $("#gone").checked;
  const shown = sandboxes.filter((each) => (gone || !each.hidden) && matches(each, words));
  const body = $("#sandboxes tbody");
  const wanted = new Set(shown.map((each) => each.id));
  for (const [id, row] of rows) if (!wanted.has(id)) { row.remove(); rows.delete(id); }
  shown.forEach((sandbox, place) => {
    const row = rows.get(sandbox.id) ?? newRow(sandbox);
    drawRow(row, sandbox);
    if (body.children[place] !== row) body.insertBefore(row, body.children[place] ?? null);
  });
  $("#sandboxes table").hidden = shown.length === 0;
  $("#sandboxes .empty").hidden = shown.length > 0;
  put($("#sandboxes .empty"), sandboxes.some((each) => gone || !each.hidden)
    ? "No sandbox matches the filter."
    : "No sandboxes yet. Create one with the Daytona SDK, and it appears here.");
  put($("#shown"), shown.length ? `${shown.length} of ${sandboxes.length}${sandboxes.length >= ROWS_MAX ? " newest" : ""}` : "");
  drawCounts();
}

function drawCounts() {
  const counts = {};
  for (const each of sandboxes) if (!each.hidden) counts[each.state] = (counts[each.state] ?? 0) + 1;
  redraw($("#counts"), counts, () => Object.entries(counts).sort().map(([state, number]) =>
    element("li", `state ${tone(state)}`, `${number} ${state}`)));
}

function newRow(sandbox) {
  const row = element("tr");
  row.setAttribute("role", "row");
  for (const [name, label] of CELLS) {
    const cell = element("td", name);
    cell.setAttribute("role", "cell");
    if (label) cell.dataset.label = label;
    row.append(cell);
  }
  const acts = element("div", "acts");
  for (const [label, act, detail] of ACTS) {
    const button = element("button", act === "delete" ? "danger" : "", label);
    button.type = "button";
    button.setAttribute("aria-label", `${label} ${sandbox.name}`);
    button.addEventListener("click", () => press(row.sandbox, act, detail));
    acts.append(button);
  }
  row.lastChild.append(acts);
  rows.set(sandbox.id, row);
  return row;
}

function drawRow(row, sandbox) {
  const [name, state, desired, age, active, timers] = row.children;
  row.sandbox = sandbox;
  row.className = sandbox.hidden ? "gone" : "";
  redraw(name, [sandbox.name, sandbox.id, sandbox.labels], () => {
    const labels = Object.entries(sandbox.labels).filter(([key]) => key !== "code-toolbox-language");
    const chips = labels.map(([key, value]) => element("span", "", `${key}: ${value}`));
    const id = element("span", "mono dim", ` ${sandbox.id.slice(0, 8)}`);
    id.title = sandbox.id;
    return [element("b", "", sandbox.name), id, element("div", "labels", ...chips)];
  });
  redraw(state, [sandbox.state, sandbox.transition, sandbox.stuck, sandbox.error_reason, sandbox.recoverable,
    sandbox.desired_state], () => drawState(sandbox));
  put(desired, sandbox.desired_state);
  put(age, ago(sandbox.created_at));
  age.title = sandbox.created_at ?? "";
  put(active, ago(sandbox.last_activity_at));
  active.title = sandbox.last_activity_at ?? "";
  const lines = timerLines(sandbox);
  redraw(timers, lines, () => lines.map(([label, text]) => element("div", "", `${label} `, element("b", "", text))));
  for (const button of row.querySelectorAll("button")) button.disabled = sandbox.hidden;
}

function drawState(sandbox) {
  const drawn = [element("span", `state ${tone(sandbox.state)}`, sandbox.state)];
  if (sandbox.transition !== null) {
    const text = sandbox.stuck ? `${sandbox.transition}: stuck` : `${sandbox.transition}…`;
    drawn.push(element("div", sandbox.stuck ? "why" : "flight", text));
  } else if (sandbox.desired_state !== sandbox.state && !sandbox.hidden) {
    drawn.push(element("div", "flight", `→ ${sandbox.desired_state}`));
  }
  if (sandbox.error_reason !== null) {
    drawn.push(element("div", "why", sandbox.error_reason + (sandbox.recoverable ? " (recoverable)" : "")));
  }
  return drawn;
}

/** Return the setting of each timer, and when a running one fires. */
function timerLines(sandbox) {
  const lines = [];
  const left = (from, interval) => ` in ${span(interval * 60 / speed - since(from))}`;
  const { auto_stop_interval: stop, auto_archive_interval: archive, auto_delete_interval: remove } = sandbox;
  lines.push(["stop", stop > 0
    ? minutes(stop) + (sandbox.state === "started" ? left(sandbox.last_activity_at, stop) : "") : "never"]);
  const running = sandbox.state === "stopped" && archive > 0;
  lines.push(["archive", archive > 0 ? minutes(archive) + (running ? left(sandbox.state_since, archive) : "") : "30d"]);
  if (remove >= 0) lines.push(["delete", remove === 0 ? "when stopped" : minutes(remove)]);
  if (sandbox.auto_destroy_at !== null) lines.push(["destroy in", span(-since(sandbox.auto_destroy_at))]);
  return lines;
}

async function press(sandbox, act, detail) {
  if (act === "delete" && !(await confirmed(`Delete ${sandbox.name}? Its files are lost.`))) return;
  await attempt(() => ask("POST", `/sandboxes/${encodeURIComponent(sandbox.id)}/${act}`, detail));
}

function confirmed(question) {
  const dialog = $("#ask");
  put($("p", dialog), question);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/** Return whether a part of an effect differs from its default. */
function worthSaying(key, value) {
  if (value === null || value === false) return false;
  return !(key === "message" || key === "reason") && (typeof value !== "object" || Object.keys(value).length > 0);
}

function drawFaults(plan) {
  put($("#seed"), `seed ${plan.seed}`);
  $("#clear").disabled = plan.rules.length === 0;
  $("#faults .empty").hidden = plan.rules.length > 0;
  redraw($("#rules"), plan.rules, () => plan.rules.map(({ rule, seen, fired, remaining }) => {
    const { kind, ...effect } = rule.effect;
    const detail = Object.fromEntries(Object.entries(effect).filter(([key, value]) => worthSaying(key, value)));
    const where = [rule.match.operation, rule.match.name, rule.match.sandbox_id].filter(Boolean).join(" ");
    const odds = rule.probability < 1 ? ` p=${rule.probability}` : "";
    const text = `${kind} ${JSON.stringify(detail)}${odds}`.replace(" {}", "");
    const count = element("span", "dim", `${fired} of ${seen}${remaining === null ? "" : `, ${remaining} left`}`);
    count.title = "fired, of requests that matched";
    return element("li", remaining === 0 ? "spent" : "", element("b", "", where), element("code", "", text), count);
  }));
}

/** Return what an entry says beyond its kind, shortly. */
function summary(entry) {
  const { detail } = entry;
  const who = entry.name ?? entry.sandbox_id ?? "";
  const told = {
    request: () => `${detail.method} ${detail.path}`,
    reply: () => `${entry.operation}: ${detail.status ?? "no reply"}${detail.message ? ` ${detail.message}` : ""}`,
    state: () => `${detail.old} → ${detail.new}${detail.reason ? ` (${detail.reason})` : ""}`,
    desired: () => `wants ${detail.new} (${entry.operation})`,
    toolbox: () => `${detail.method} ${detail.path}: ${detail.status ?? "no reply"}`,
    fault: () => `${detail.rule} ${detail.effect?.kind} on ${entry.operation}`,
  }[entry.kind];
  const { act, now, ...rest } = detail;
  const said = Object.entries(rest).filter(([, value]) => value !== null);
  const plain = said.length ? JSON.stringify(Object.fromEntries(said)) : "";
  return `${who ? `${who}: ` : ""}${told ? told() : [act, plain].filter(Boolean).join(" ")}`;
}

function isRead(entry) {
  return (entry.kind === "request" || entry.kind === "reply") && ["get", "list"].includes(entry.operation);
}

function drawJournal() {
  const words = $("#find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const reads = $("#reads").checked;
  const shown = entries.map((entry) => [entry, `${entry.kind} ${summary(entry)}`.toLowerCase()])
    .filter(([entry, text]) => (reads || !isRead(entry)) && words.every((word) => text.includes(word)))
    .slice(-ENTRIES_MAX).reverse().map(([entry]) => entry);
  $("#journal .empty").hidden = shown.length > 0;
  put($("#journal .empty"), entries.length ? "No entry matches the filter." : "Nothing has happened yet.");
  redraw($("#entries"), shown.map((entry) => entry.seq), () => shown.map((entry) => {
    const failed = entry.kind === "reply" && !(entry.detail.status < 400);
    const tones = { fault: "fault", admin: "admin", state: "state-change" };
    const at = new Date(entry.at * 1000);
    const time = element("time", "", at.toLocaleTimeString("en-GB"));
    time.title = at.toISOString();
    const text = element("p", "", summary(entry));
    text.title = JSON.stringify(entry.detail);
    return element("li", failed ? "failed" : tones[entry.kind] ?? "", time, element("span", "kind", entry.kind), text);
  }));
}

const page = (after, limit) => ask("GET", `/journal?after=${after}&limit=${limit}`);

/** Return a number shortly before the newest entry: the journal can only be read forwards. */
async function journalEnd() {
  const isEmpty = async (after) => (await page(after, 1)).entries.length === 0;
  let low = 0, high = 1;
  while (!(await isEmpty(high))) { low = high; high *= 2; }
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (await isEmpty(middle)) high = middle; else low = middle;
  }
  return Math.max(0, low - 2 * ENTRIES_MAX);
}

async function readJournal() {
  cursor ??= await journalEnd();
  const found = await page(cursor, 1000);
  if (found.entries.length === 0) return;
  cursor = found.entries.at(-1).seq;
  entries = entries.concat(found.entries).slice(-4 * ENTRIES_MAX);
}

function drawConfig(config) {
  speed = config.speed;
  const input = $("#speed-value");
  if (document.activeElement !== input) input.value = speed;
  for (const button of document.querySelectorAll("[data-speed]")) {
    button.setAttribute("aria-pressed", String(Number(button.dataset.speed) === speed));
  }
}

let reading = null;

/** Read everything once. A call during a reading waits for the next one. */
async function refresh() {
  while (reading) await reading;
  reading = readAll();
  await reading;
  reading = null;
}

async function readAll() {
  try {
    const [config, found, plan] = await Promise.all([
      ask("GET", "/config"), ask("GET", `/sandboxes?limit=${ROWS_MAX}`), ask("GET", "/faults"), readJournal(),
    ]);
    drawConfig(config);
    sandboxes = found.sandboxes;
    drawSandboxes();
    drawFaults(plan);
    drawJournal();
    put($("#link"), "live");
    $("#link").dataset.up = "yes";
  } catch (error) {
    put($("#link"), `no answer: ${error.message}`);
    $("#link").dataset.up = "no";
  }
}

function fillTemplates() {
  const select = $("#template");
  for (const name of Object.keys(TEMPLATES)) select.append(element("option", "", name));
  const show = () => { $("#rule").value = JSON.stringify(TEMPLATES[select.value], null, 1).replace(/\n\s*/g, " "); };
  select.addEventListener("change", show);
  show();
}

function listen() {
  $("#error button").addEventListener("click", () => { $("#error").hidden = true; });
  for (const id of ["#search", "#gone"]) $(id).addEventListener("input", drawSandboxes);
  for (const id of ["#find", "#reads"]) $(id).addEventListener("input", drawJournal);
  $("#clear").addEventListener("click", () => attempt(() => ask("DELETE", "/faults")));
  $("#add").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(() => ask("POST", "/faults", JSON.parse($("#rule").value)));
  });
  $("#speed").addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(() => ask("PATCH", "/config", { speed: Number($("#speed-value").value) }));
  });
  for (const button of document.querySelectorAll("[data-speed]")) {
    button.addEventListener("click", () => attempt(() => ask("PATCH", "/config", { speed: Number(button.dataset.speed) })));
  }
}

async function poll() {
  if (!document.hidden) await refresh();
  setTimeout(poll, POLL_MS);
}

/** The address of one sandbox, as Daytona's dashboard has it: show this one, also when it was deleted. */
function showLinked() {
  const [, id] = /^\/dashboard\/sandboxes\/([^/]+)$/.exec(location.pathname) ?? [];
  if (!id) return;
  $("#search").value = id;
  $("#gone").checked = true;
}

fillTemplates();
showLinked();
listen();
poll();
