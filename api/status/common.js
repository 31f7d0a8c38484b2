"use strict";
// What both pages share. Anybody can write a title: everything from the API goes onto the page as text, never as markup.

const KEY = "issuebox-token", LIST_KEY = "issuebox-list";
const REFRESH_MS = 5000;
const ASK_TIMEOUT_MS = 20000;

const $ = (selector, from = document) => from.querySelector(selector);
const linked = (name) => $(`meta[name=${name}]`).content;
const TEMPORAL = linked("temporal-workflow"), DAYTONA = linked("daytona-sandboxes");

/** What a page has of its own: `read` asks the API and returns a function that draws, and the age of what it read. */
let page = { read: async () => ({ draw() {}, age_s: 0 }), clear() {} };
let token = sessionStorage.getItem(KEY) ?? "";
let timer = 0, asking = 0, answeredAt = 0;

const TONES = {
  usable: "up",
  pending: "moving", thawing: "moving", unprepared: "moving", busy: "moving", stopping: "moving", leaving: "moving",
  recoverable: "bad", broken: "bad", unbuilt: "bad", unknown: "bad",
};
/** How a run is: what is not here is over, and was not done. */
const RUN_TONES = { waiting: "", working: "moving", paused: "", ending: "moving", done: "up", cancelled: "" };
const sandboxPath = (id) => `/v1/issues/${id}/sandbox`;
const runsPath = (id) => `/v1/issues/${id}/runs`;
const ACTS = {
  ensure: { method: "PUT", path: (id) => `${sandboxPath(id)}?wait_s=5` },
  retry: { method: "POST", path: (id) => `/v1/issues/${id}/retry` },
  stop: {
    method: "POST", path: (id) => `/v1/issues/${id}/stop`, confirm: "Stop it",
    question: (name) => `Stop the sandbox of ${name}?`,
    consequence: "Whatever runs in it ends. Its disk is kept, and the next request starts it again.",
  },
  replace: {
    method: "POST", path: (id) => `/v1/issues/${id}/replace`, confirm: "Replace it",
    question: (name) => `Replace the sandbox of ${name}?`,
    consequence: "Everything in it is lost, unsaved work included. When it is gone, a new one is created.",
  },
  pause: {
    method: "POST", path: (id) => `${runsPath(id)}/pause`, confirm: "Pause it",
    question: (name) => `Pause the agent's work for ${name}?`,
    said: "asked; the agent ends in order, which takes some seconds",
    consequence: "It is interrupted, and requests wait, until somebody resumes it. The sandbox and what is in it stay.",
  },
  resume: { method: "POST", path: (id) => `${runsPath(id)}/resume`, said: "asked; the agent goes on once its sandbox can be used" },
  cancel: {
    method: "POST", path: (id) => `${runsPath(id)}/cancel`, confirm: "Cancel it",
    question: (name) => `Cancel the agent's work for ${name}?`,
    said: "asked; the agent ends in order, which takes some seconds",
    consequence: "It is interrupted, and all requests that wait are refused. The sandbox and what is in it stay.",
  },
  delete: {
    method: "DELETE", path: (id, isForced) => `${sandboxPath(id)}?force=${isForced}`, confirm: "Delete it",
    question: (name) => `Delete the sandbox of ${name}?`,
    consequence: "Before that, it is searched for work that is saved nowhere else. If there is some, the sandbox is stopped and kept.",
    option: "Give up unsaved work, too",
  },
};

/** What went wrong, in a sentence for people. `type` is the problem's. */
class Refusal extends Error {
  constructor(status, sentence, type = "") {
    super(sentence);
    this.status = status;
    this.type = type;
  }
}

/** Call the API. Returns its answer, or null for "not modified", and the headers. Throws a Refusal. */
async function ask(method, path, headers = {}) {
  let reply;
  try {
    const signal = AbortSignal.timeout(ASK_TIMEOUT_MS);
    reply = await fetch(path, { method, headers: { Authorization: `Bearer ${token}`, ...headers }, cache: "no-store", signal });
  } catch {
    throw new Refusal(0, "the API does not answer");
  }
  if (reply.status === 304) return [null, reply.headers];
  const body = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Refusal(reply.status, body.detail || `the API answered ${reply.status}`, body.type);
  return [body, reply.headers];
}

/** Change a text only when it differs, so that a selection survives. */
function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A new element with a class and a text. */
function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** A link to another site; nothing when the address is none of http or https. */
function outside(address, text) {
  if (!/^https?:\/\//.test(address)) return [];
  const anchor = element("a", text);
  anchor.href = address;
  anchor.target = "_blank";
  anchor.rel = "noreferrer";
  return [anchor];
}

/** "3 d", "2 min": how far away the time is, in either direction; "" for no time. */
function span(iso) {
  return lasted(Math.abs(Date.parse(iso) - Date.now()));
}

/** "3 d", "2 min": so many milliseconds; "" for what is no number. */
function lasted(ms) {
  const seconds = ms / 1000;
  if (Number.isNaN(seconds)) return "";
  const [unit, length] = [["d", 86400], ["h", 3600], ["min", 60]].find(([, size]) => seconds >= size) ?? ["s", 1];
  return `${Math.round(seconds / length)} ${unit}`;
}

/** "in 3 d", "2 min ago". */
function near(iso) {
  const length = span(iso);
  if (!length) return "";
  return Date.parse(iso) > Date.now() ? `in ${length}` : `${length} ago`;
}

/** The time in this browser's time zone, to the second. */
function local(iso) {
  const date = new Date(iso ?? "");
  return Number.isNaN(date.getTime()) ? "" : date.toLocaleString([], { dateStyle: "short", timeStyle: "medium" });
}

/** The text with a capital at its beginning and a point at its end. */
const sentence = (text) => text && text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
const words = (text) => String(text ?? "").replaceAll("_", " ");
const named = (repository, number, id) => (repository ? `${repository}#${number}` : `issue ${id}`);

/** The chips of an issue: its sandbox's state, what blocks it, and unsaved work. */
function chips(from, { state, phase, blocked, stuck, work }) {
  put($(".state", from), words(state || phase || "not looked up yet"));
  $(".state", from).dataset.tone = TONES[phase] ?? "";
  $(".state", from).title = phase ? `phase: ${phase}` : "";
  put($(".blocked", from), stuck ? "stuck" : blocked === "queued" ? "queued" : blocked ? `blocked: ${words(blocked)}` : "");
  $(".blocked", from).dataset.tone = blocked === "queued" && !stuck ? "moving" : "bad";
  $(".blocked", from).title = stuck ?? "";
  put($(".work", from), work === "unsaved" ? "unsaved work" : "");
}

/** The chip of the agent's newest run. */
function runChip(node, state) {
  put(node, words(state));
  node.dataset.tone = state ? RUN_TONES[state] ?? "bad" : "";
  node.title = state ? "the agent's newest run" : "";
}

async function refresh() {
  clearTimeout(timer);
  const round = ++asking;
  try {
    const { draw, age_s } = await page.read();
    if (round !== asking) return;
    draw();
    upToDate(age_s);
  } catch (refusal) {
    if (!(refusal instanceof Refusal)) throw refusal;
    if (round !== asking) return;
    if (refusal.status === 401) return lock(refusal.message);
    outOfDate(refusal.message);
  }
  if (!document.hidden) timer = setTimeout(refresh, REFRESH_MS);
}

const clock = (at) => new Date(at).toLocaleTimeString();

function upToDate(age_s) {
  answeredAt = Date.now() - age_s * 1000;
  $("#stale").hidden = true;
  connected(`as of ${clock(answeredAt)}`, true);
}

/** What is shown may be history: say so, why, and of when it is. */
function outOfDate(reason) {
  connected("not up to date", false);
  const last = answeredAt ? `The last answer is of ${clock(answeredAt)}.` : "There was no answer yet.";
  put($("#stale"), `Not up to date: ${reason.replace(/; try again later$/, "")}. ${last} This page asks again every ${REFRESH_MS / 1000} s.`);
  $("#stale").hidden = false;
}

function connected(sentence, isUp) {
  put($("#link"), sentence);
  $("#link").dataset.up = isUp ? "yes" : "no";
}

/** Forget the token and all that is shown, and ask for one, with the reason. */
function lock(reason) {
  clearTimeout(timer);
  asking += 1;
  token = "";
  answeredAt = 0;
  sessionStorage.removeItem(KEY);
  page.clear();
  connected("not connected", false);
  put($("#refused"), sentence(reason));
  show(false);
  $("#token").focus();
}

function show(isOpen) {
  $("#door").hidden = isOpen;
  $("#inside").hidden = $("#forget").hidden = !isOpen;
}

/** Use this token in this tab. */
function unlock(given) {
  if (!/^[\x21-\x7e]+$/.test(given)) return lock("A token is one word of visible ASCII characters.");
  token = given;
  sessionStorage.setItem(KEY, token);
  show(true);
  refresh();
}

/** The token behind the # of the address, which is taken out of it; "" when there is none. */
function brought() {
  const [, given] = /^#token=(.*)$/.exec(location.hash) ?? [];
  if (given === undefined) return "";
  history.replaceState(null, "", location.pathname + location.search);
  try {
    return decodeURIComponent(given);
  } catch {
    return given;
  }
}

/** Ask the person. Resolves with null for no, else with whether the option was ticked. The focus returns by itself. */
function confirmed(wanted, name) {
  const dialog = $("#ask"), option = $("#option");
  put($("#question"), wanted.question(name));
  put($("#consequence"), wanted.consequence);
  put($("#confirm"), wanted.confirm);
  put($("span", option), wanted.option ?? "");
  option.hidden = !wanted.option;
  $("input", option).checked = false;
  dialog.returnValue = "";
  dialog.showModal();
  $("#keep").focus();
  return new Promise((resolve) => {
    const answered = () => resolve(dialog.returnValue === "yes" ? $("input", option).checked : null);
    dialog.addEventListener("close", answered, { once: true });
  });
}

/** Do what the button says, after a question where somebody's work is concerned, and say what came of it. */
async function act(holder, id, name, button) {
  const wanted = ACTS[button.dataset.act];
  const isForced = wanted.question ? await confirmed(wanted, name) : false;
  if (isForced === null) return;
  const buttons = holder.querySelectorAll("[data-act]");
  const say = (sentence) => put($(".said", holder), sentence);
  buttons.forEach((other) => (other.disabled = true));
  say("asked");
  try {
    const [answer] = await ask(wanted.method, wanted.path(id, isForced));
    say(answer.blocked ? answer.blocked.reason : answer.outcome ? `the sandbox was ${words(answer.outcome)}` : wanted.said ?? "asked; the sandbox is being looked up");
  } catch (refusal) {
    if (!(refusal instanceof Refusal)) throw refusal;
    say(refusal.message);
  }
  buttons.forEach((other) => (other.disabled = false));
  if (document.activeElement === document.body) button.focus();
  await refresh();
}

/** Begin with what this page reads and draws. */
function begin(own) {
  page = own;
  if (linked("temporal-list")) $("#temporal").href = linked("temporal-list");
  $("#temporal").hidden = !linked("temporal-list");
  $("#door").addEventListener("submit", (event) => {
    event.preventDefault();
    const given = $("#token").value.trim();
    $("#token").value = "";
    unlock(given);
  });
  $("#forget").addEventListener("click", () => lock(""));
  document.addEventListener("visibilitychange", () => !document.hidden && token && refresh());
  const enter = () => {
    const given = brought() || token;
    if (given) unlock(given);
    else lock("");
  };
  window.addEventListener("hashchange", () => location.hash.startsWith("#token=") && enter());
  enter();
}
