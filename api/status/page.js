"use strict";
// Anybody can write a title: everything from the API goes onto the page as text, never as markup.

const KEY = "issuebox-token";
const REFRESH_MS = 5000;
const PAGE_SIZE = 200;
const PAGES_MAX = 5;
const SURE_MS = 4000;
const WORKFLOWS = document.querySelector("meta[name=temporal-workflows]").content;

const $ = (selector, from = document) => from.querySelector(selector);
const rows = new Map();
let token = sessionStorage.getItem(KEY) ?? "";
let issues = [], isMore = false, group = "all", timer = 0, asking = 0;

const TONES = {
  usable: "up",
  pending: "moving", thawing: "moving", unprepared: "moving", busy: "moving", stopping: "moving", leaving: "moving",
  recoverable: "bad", broken: "bad", unbuilt: "bad", unknown: "bad",
};
const GROUPS = {
  all: () => true,
  running: (issue) => TONES[issue.phase] === "up",
  changing: (issue) => TONES[issue.phase] === "moving",
  blocked: (issue) => Boolean(issue.blocked || issue.stuck),
  resting: (issue) => ["stopped", "paused", "archiving", "archived", "missing"].includes(issue.phase) && !issue.blocked && !issue.stuck,
};
const ACTS = {
  ensure: { method: "PUT", path: (id) => `/v1/issues/${id}/sandbox?wait_s=5` },
  retry: { method: "POST", path: (id) => `/v1/issues/${id}/retry` },
  stop: { method: "POST", path: (id) => `/v1/issues/${id}/stop`, asksTwice: true },
};

/** What went wrong, in a sentence for people. */
class Refusal extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/** Call the API and return its answer as an object. Throws a Refusal. */
async function ask(method, path) {
  let reply;
  try {
    reply = await fetch(path, { method, headers: { Authorization: `Bearer ${token}` }, cache: "no-store" });
  } catch {
    throw new Refusal(0, "the API does not answer");
  }
  const body = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Refusal(reply.status, body.detail || `the API answered ${reply.status}`);
  return body;
}

/** Change a text only when it differs, so that a selection survives. */
function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** A new element with a text. */
function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

/** "in 3 d", "2 min ago". */
function near(iso) {
  const seconds = (Date.parse(iso) - Date.now()) / 1000;
  if (Number.isNaN(seconds)) return "";
  const [unit, length] = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]].find(([, s]) => Math.abs(seconds) >= s) ?? ["s", 1];
  const count = Math.round(Math.abs(seconds) / length);
  return seconds >= 0 ? `in ${count} ${unit}` : `${count} ${unit} ago`;
}

/** The time in this browser's time zone, to the second. */
function local(iso) {
  const date = new Date(iso);
  return Number.isNaN(date.getTime()) ? "" : date.toLocaleString([], { dateStyle: "short", timeStyle: "medium" });
}

const words = (text) => String(text ?? "").replaceAll("_", " ");
const named = (issue) => (issue.repository ? `${issue.repository}#${issue.number}` : `issue ${issue.issue_id}`);

async function refresh() {
  clearTimeout(timer);
  const round = ++asking;
  try {
    const found = [];
    let next = "", pages = 0;
    do {
      const page = await ask("GET", `/v1/sandboxes?page_size=${PAGE_SIZE}&page_token=${encodeURIComponent(next)}`);
      found.push(...page.sandboxes);
      next = page.next_page_token ?? "";
    } while (next && ++pages < PAGES_MAX);
    if (round !== asking) return;
    issues = found;
    isMore = Boolean(next);
    connected(`as of ${new Date().toLocaleTimeString()}`, true);
    draw();
  } catch (refusal) {
    if (!(refusal instanceof Refusal)) throw refusal;
    if (round !== asking) return;
    if (refusal.status === 401) return lock(refusal.message);
    connected(`${refusal.message}; trying again`, false);
  }
  if (!document.hidden) timer = setTimeout(refresh, REFRESH_MS);
}

function connected(sentence, isUp) {
  put($("#link"), sentence);
  $("#link").dataset.up = isUp ? "yes" : "no";
}

/** Forget the token and ask for one, with the reason. */
function lock(reason) {
  clearTimeout(timer);
  asking += 1;
  token = "";
  sessionStorage.removeItem(KEY);
  [issues, isMore] = [[], false];
  draw();
  connected("not connected", false);
  put($("#refused"), reason);
  show(false);
  $("#token").focus();
}

function show(isOpen) {
  $("#door").hidden = isOpen;
  $("main").hidden = $("#forget").hidden = !isOpen;
}

function draw() {
  for (const button of $("#groups").children) {
    const count = issues.filter(GROUPS[button.dataset.group]).length;
    put(button, `${button.dataset.group} ${count}`);
    button.setAttribute("aria-pressed", String(button.dataset.group === group));
  }
  const wanted = $("#filter").value.trim().toLowerCase();
  const shown = issues.filter((issue) => GROUPS[group](issue) && text(issue).includes(wanted));
  const body = $("tbody");
  const kept = new Set(shown.map((issue) => issue.issue_id));
  for (const [id, row] of rows) {
    if (kept.has(id)) continue;
    row.main.remove();
    row.detail.remove();
    rows.delete(id);
  }
  let place = body.firstChild;
  for (const issue of shown) {
    const row = rows.get(issue.issue_id) ?? made(issue.issue_id);
    fill(row, issue);
    if (row.main === place) place = row.detail.nextSibling;
    else body.insertBefore(row.main, place), body.insertBefore(row.detail, place);
  }
  put($("#shown"), `${shown.length} of ${issues.length}${isMore ? ", the newest" : ""}`);
  $("#empty").hidden = shown.length > 0;
  put($("#empty"), issues.length ? "No issue fits." : "No issue has asked for a sandbox yet.");
}

/** The text that the filter searches. */
function text(issue) {
  const { issue_id, repository, number, title, phase, state, outcome, goal, blocked, stuck, work } = issue;
  return `${repository}#${number} ${issue_id} ${title} ${phase} ${state} ${outcome} ${goal} ${blocked} ${words(blocked)} ${stuck} ${work}`.toLowerCase();
}

function made(id) {
  const main = $("#row").content.cloneNode(true).firstElementChild;
  const detail = $("#detail").content.cloneNode(true).firstElementChild;
  detail.hidden = true;
  const row = { id, main, detail, published: "" };
  $(".open", main).addEventListener("click", () => toggle(row));
  for (const button of main.querySelectorAll("[data-act]")) button.addEventListener("click", () => act(row, button));
  rows.set(id, row);
  return row;
}

function fill(row, issue) {
  const { main } = row;
  const published = JSON.stringify(issue);
  if (row.published !== published && !row.detail.hidden) explain(row);
  row.published = published;
  put($(".number", main), named(issue));
  put($(".title", main), issue.title || "(no title yet)");
  put($(".state", main), words(issue.state || issue.phase || "not looked up yet"));
  $(".state", main).dataset.tone = TONES[issue.phase] ?? "";
  $(".state", main).title = issue.phase ? `phase: ${issue.phase}` : "";
  put($(".blocked", main), issue.stuck ? "stuck" : issue.blocked ? `blocked: ${words(issue.blocked)}` : "");
  $(".blocked", main).title = issue.stuck;
  put($(".work", main), issue.work === "unsaved" ? "unsaved work" : "");
  put($(".outcome", main), words(issue.outcome) || "–");
  put($(".aim", main), words(issue.goal) || "–");
  put($(".due", main), issue.goal_due_at ? `changes ${near(issue.goal_due_at)}` : "");
  $(".due", main).title = local(issue.goal_due_at);
}

async function toggle(row) {
  const isOpen = $(".open", row.main).getAttribute("aria-expanded") !== "true";
  $(".open", row.main).setAttribute("aria-expanded", String(isOpen));
  row.detail.hidden = !isOpen;
  if (isOpen) await explain(row);
}

/** Fill the detail with the answer to *why*, and with what the issue's workflow knows. */
async function explain(row) {
  const path = `/v1/issues/${row.id}/sandbox`;
  try {
    const [status, why] = await Promise.all([ask("GET", path), ask("GET", `${path}/why`)]);
    put($(".summary", row.detail), why.summary.replaceAll("**", ""));
    $("dl", row.detail).replaceChildren(...details(status).flatMap(([name, value]) => [element("dt", name), value]));
    $("ol", row.detail).replaceChildren(...why.notes.toReversed().map(noted));
  } catch (refusal) {
    if (!(refusal instanceof Refusal)) throw refusal;
    put($(".summary", row.detail), refusal.message);
  }
}

/** The list in the detail: pairs of a name and an element, without those that have no value. */
function details(status) {
  const { blocked, sandbox, issue, inspection } = status;
  const found = [
    ["now", status.doing],
    ["what helps", blocked?.advice],
    ["next try", blocked?.next_try_at && `${near(blocked.next_try_at)} (try ${blocked.tries + 1})`],
    ["goal", status.goal_due_at ? `${status.goal}, changes ${local(status.goal_due_at)}` : status.goal],
    ["sandbox", sandbox && `${sandbox.id} in ${sandbox.region || "?"}`],
    ["unsaved work", inspection?.findings?.join("; ")],
    ["seen", status.seen_at && near(status.seen_at)],
    ["deliveries", status.deliveries_seen],
  ];
  const pairs = found.filter(([, value]) => value).map(([name, value]) => [name, element("dd", value)]);
  if (/^https?:\/\//.test(issue?.url ?? "")) pairs.push(["issue", link(issue.url)]);
  if (WORKFLOWS) pairs.push(["Temporal", link(WORKFLOWS + encodeURIComponent(status.name), status.name)]);
  return pairs;
}

function link(address, text = address) {
  const anchor = element("a", text);
  anchor.href = address;
  anchor.target = "_blank";
  anchor.rel = "noreferrer";
  const holder = document.createElement("dd");
  holder.append(anchor);
  return holder;
}

function noted(note) {
  const item = document.createElement("li");
  const at = element("time", local(note.at));
  at.dateTime = note.at;
  item.append(at, element("span", words(note.what)), element("span", note.reason));
  return item;
}

async function act(row, button) {
  const wanted = ACTS[button.dataset.act];
  if (wanted.asksTwice && !button.classList.contains("sure")) return askTwice(button);
  const buttons = row.main.querySelectorAll("[data-act]");
  const say = (sentence) => put($(".said", row.main), sentence);
  buttons.forEach((other) => (other.disabled = true));
  say("asked");
  try {
    const answer = await ask(wanted.method, wanted.path(row.id));
    say(answer.blocked ? answer.blocked.reason : answer.outcome ? `the sandbox was ${words(answer.outcome)}` : "asked; the sandbox is being looked up");
  } catch (refusal) {
    if (!(refusal instanceof Refusal)) throw refusal;
    say(refusal.message);
  }
  buttons.forEach((other) => (other.disabled = false));
  if (!row.detail.hidden) await explain(row);
  await refresh();
}

/** This button interrupts somebody's work, so its first press only arms it. */
function askTwice(button) {
  const label = button.textContent;
  button.classList.add("sure");
  button.textContent = "Really stop?";
  const calm = () => {
    button.classList.remove("sure");
    button.textContent = label;
  };
  const calmed = setTimeout(calm, SURE_MS);
  button.addEventListener("click", () => (clearTimeout(calmed), calm()), { once: true });
}

for (const name of Object.keys(GROUPS)) {
  const button = element("button", name);
  button.type = "button";
  button.dataset.group = name;
  button.addEventListener("click", () => ((group = name), draw()));
  $("#groups").append(button);
}
$("#filter").addEventListener("input", draw);
$("#door").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("#token").value.trim();
  $("#token").value = "";
  sessionStorage.setItem(KEY, token);
  show(true);
  refresh();
});
$("#forget").addEventListener("click", () => lock(""));
document.addEventListener("visibilitychange", () => !document.hidden && token && refresh());
if (token) show(true), refresh();
else lock("");
