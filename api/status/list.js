// The list of all issues, a page at a time. The server sorts, searches and counts.

const GROUPS = ["all", "running", "changing", "queued", "blocked", "resting"];
const TYPING_MS = 250;
/** Whether a column is first sorted from the highest value down. */
const DESCENDING = { issue: false, state: false, goal: false, activity: true, age: true };

const rows = new Map();
let wanted = asWanted(new URLSearchParams(location.search));
let known = { path: "", etag: "", found: null };
let typing = 0, toFocus = null;

/** What the address asks for. Whatever it says, the server checks it. */
function asWanted(query) {
  return {
    group: GROUPS.includes(query.get("group")) ? query.get("group") : "all",
    search: (query.get("search") ?? "").slice(0, 200),
    sort: query.get("sort") in DESCENDING ? query.get("sort") : "age",
    descending: query.get("descending") !== "false",
    page: Math.max(1, Number.parseInt(query.get("page"), 10) || 1),
  };
}

/** Show another part of the list, and remember it in the address: a reload and a way back lead there. */
function turnTo(change) {
  wanted = { ...wanted, page: 1, ...change };
  remember();
  refresh();
}

function remember() {
  const plain = asWanted(new URLSearchParams());
  const differing = Object.entries(wanted).filter(([name, value]) => plain[name] !== value);
  const query = differing.length ? `?${new URLSearchParams(differing)}` : "";
  history.replaceState(null, "", location.pathname + query + location.hash);
  sessionStorage.setItem(LIST_KEY, query);
}

async function readList() {
  const path = `/v1/overview?${new URLSearchParams(Object.entries(wanted))}`;
  const isKnown = known.path === path && known.found;
  const [found, headers] = await ask("GET", path, isKnown ? { "If-None-Match": known.etag } : {});
  const now = found ? { path, etag: headers.get("ETag"), found } : known;
  return { draw: () => draw((known = now).found), age_s: Number(headers.get("Age")) };
}

const counted = (number) => number.toLocaleString("en");

function draw(found) {
  const { issues, counts, matching } = found;
  for (const button of $("#groups").children) {
    put(button, `${button.dataset.group} ${counted(counts[button.dataset.group])}`);
    button.setAttribute("aria-pressed", String(button.dataset.group === wanted.group));
  }
  for (const button of document.querySelectorAll("[data-sort]")) {
    const isSorted = button.dataset.sort === wanted.sort;
    const column = button.closest("th");
    if (isSorted) column.setAttribute("aria-sort", wanted.descending ? "descending" : "ascending");
    else column.removeAttribute("aria-sort");
  }
  $("#sort").value = `${wanted.sort} ${wanted.descending}`;
  drawRows(issues);
  put($("#shown"), matching === counts.all ? "" : `${counted(matching)} of ${counted(counts.all)}`);
  $("table").hidden = $("#keys").hidden = issues.length === 0;
  $("#first").hidden = counts.all > 0;
  $("#empty").hidden = issues.length > 0 || counts.all === 0;
  put($("#empty"), "No issue fits.");
  drawPager(found);
}

function drawPager({ page: shown, pages, matching, issues, is_cut }) {
  wanted.page = shown;
  $("#pager").hidden = issues.length === 0;
  put($("#range"), `page ${counted(shown)} of ${counted(pages)}, ${counted(matching)} ${matching === 1 ? "issue" : "issues"}${is_cut ? "; only the newest are counted" : ""}`);
  $("#before").disabled = shown <= 1;
  $("#after").disabled = shown >= pages;
}

function drawRows(issues) {
  const body = $("tbody"), focused = document.activeElement;
  const kept = new Set(issues.map((issue) => issue.issue_id));
  for (const [id, row] of rows) {
    if (kept.has(id)) continue;
    row.remove();
    rows.delete(id);
  }
  issues.forEach((issue, place) => {
    const row = rows.get(issue.issue_id) ?? made(issue);
    fill(row, issue);
    if (body.children[place] !== row) body.insertBefore(row, body.children[place] ?? null);
  });
  // A row that moved has lost its focus.
  if (focused?.isConnected && focused !== document.activeElement && body.contains(focused)) focused.focus();
  if (toFocus) toFocus(body)?.focus();
  toFocus = null;
}

function made(issue) {
  const row = $("#row").content.cloneNode(true).firstElementChild;
  $(".open", row).href = `/status/issues/${issue.issue_id}`;
  const name = () => $(".number", row).textContent;
  for (const button of row.querySelectorAll("[data-act]")) {
    button.addEventListener("click", () => act($(".acts", row), issue.issue_id, name(), button));
  }
  rows.set(issue.issue_id, row);
  return row;
}

function fill(row, issue) {
  const name = named(issue.repository, issue.number, issue.issue_id);
  put($(".number", row), name);
  put($(".title", row), issue.title || "(no title yet)");
  chips(row, issue);
  runChip($(".run", row), issue.run);
  put($(".outcome", row), words(issue.outcome) || "–");
  put($(".aim", row), words(issue.goal) || "–");
  timed($(".due", row), issue.goal_due_at, issue.goal_due_at ? `changes ${near(issue.goal_due_at)}` : "");
  const activity = [issue.requested_at ?? "", issue.issue_updated_at ?? ""].sort().at(-1);
  timed($(".activity", row), activity, near(activity) || "–");
  timed($(".age", row), issue.started_at, span(issue.started_at));
  for (const button of row.querySelectorAll("[data-act]")) button.setAttribute("aria-label", `${button.textContent} ${name}`);
}

function timed(node, iso, text) {
  put(node, text);
  node.title = local(iso);
}

/** ↓ and ↑ move through the issues, and on to the next page; Home and End lead to the first and the last. */
function move(event) {
  const link = event.target.closest(".open");
  if (!link || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const links = [...document.querySelectorAll("tbody .open")], place = links.indexOf(link);
  const goal = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: links.length - 1 }[event.key];
  if (goal === undefined) return;
  event.preventDefault();
  if (links[goal]) return links[goal].focus();
  const [button, end] = goal < 0 ? [$("#before"), ":last-child"] : [$("#after"), ":first-child"];
  if (button.disabled) return;
  toFocus = (body) => $(`tr${end} .open`, body);
  button.click();
}

for (const name of GROUPS) {
  const button = element("button", name);
  button.type = "button";
  button.dataset.group = name;
  button.addEventListener("click", () => turnTo({ group: name }));
  $("#groups").append(button);
}
for (const button of document.querySelectorAll("[data-sort]")) {
  const sort = button.dataset.sort;
  button.addEventListener("click", () =>
    turnTo({ sort, descending: sort === wanted.sort ? !wanted.descending : DESCENDING[sort] }));
}
$("#sort").addEventListener("change", () => {
  const [sort, descending] = $("#sort").value.split(" ");
  turnTo({ sort, descending: descending === "true" });
});
remember();
$("#filter").value = wanted.search;
$("#filter").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => turnTo({ search: $("#filter").value.trim() }), TYPING_MS);
});
$("#before").addEventListener("click", () => turnTo({ page: wanted.page - 1 }));
$("#after").addEventListener("click", () => turnTo({ page: wanted.page + 1 }));
$("tbody").addEventListener("keydown", move);
begin({
  read: readList,
  clear() {
    known = { path: "", etag: "", found: null };
    rows.clear();
    $("tbody").replaceChildren();
    $("table").hidden = $("#pager").hidden = $("#keys").hidden = $("#first").hidden = true;
    put($("#empty"), "Loading the issues.");
    $("#empty").hidden = false;
  },
});
