// One issue: what its workflow knows, why, and its timeline.

const ID = location.pathname.split("/").at(-1);
const DELIVERY_SHOWN = 8;

/** The kinds of entries in the timeline, the first that fits. A kind of entry that comes later needs only a row. */
const KINDS = [
  ["run", (note) => /^run\b/.test(note.what)],
  ["blocked", (note) => note.what === "blocked"],
  ["failure", (note) => / failed$|could not be asked/.test(note.what)],
  ["request", (note) => /^((rest|cli)\.)?ensure$/.test(note.what)],
  ["delivery", (note) => /^\w+\.\w+$/.test(note.what)],
  ["order", (note) => ["stop", "delete", "replace", "retry", "look"].includes(note.what)],
  ["inspection", (note) => /^work is /.test(note.what)],
  ["decision", (note) => Boolean(note.action)],
  ["seen", () => true],
];
const kindOf = (note) => KINDS.find(([, fits]) => fits(note))[0];

let known = { status: "", why: null };
let name = `issue ${ID}`;

async function readIssue() {
  let status;
  try {
    [status] = await ask("GET", sandboxPath(ID));
  } catch (refusal) {
    if (!(refusal instanceof Refusal) || !(refusal.status === 404 || refusal.type.endsWith("workflow-stuck"))) throw refusal;
    return { draw: () => drawRefusal(refusal), age_s: 0 };
  }
  const text = JSON.stringify(status);
  const [why] = known.status === text ? [known.why] : await ask("GET", `${sandboxPath(ID)}/why`);
  return { draw: () => ((known = { status: text, why }), draw(status, why)), age_s: 0 };
}

/** There is no workflow that answers: the API's sentence says why, and what helps. */
function drawRefusal(refusal) {
  const isStuck = refusal.status !== 404;
  put($("#summary"), sentence(refusal.message));
  $("#facts").hidden = $("#timeline").hidden = true;
  offer(isStuck ? [] : ["ensure"]);
  chips($(".chips"), { stuck: isStuck ? refusal.message : "", state: "not known" });
  drawLinks(isStuck ? outside(TEMPORAL, "Workflow in Temporal") : []);
}

function draw(status, why) {
  const { issue, sandbox, blocked, inspection } = status;
  name = named(issue?.repository, issue?.number, ID);
  document.title = `${name} – issuebox`;
  put($("#number"), name);
  put($("#title"), issue?.title || name);
  put($("#summary"), why.summary.replaceAll("**", ""));
  chips($(".chips"), { state: sandbox?.state, phase: status.phase, blocked: blocked?.cause, work: inspection?.state });
  put($(".issue-state"), issue ? `issue ${words(issue.state)}` : "");
  drawLinks([
    ...outside(issue?.url ?? "", "Issue at GitHub"),
    ...outside(TEMPORAL, "Workflow in Temporal"),
    ...outside(DAYTONA && sandbox ? DAYTONA + encodeURIComponent(sandbox.id) : "", "Sandbox at Daytona"),
  ]);
  const facts = factsOf(status, why).filter(([, value]) => value);
  redraw($("#facts dl"), facts, () => facts.flatMap(([fact, value]) => [element("dt", fact), element("dd", value)]));
  redraw($("#timeline ol"), why.notes, () => why.notes.toReversed().map(noted));
  $("#facts").hidden = $("#timeline").hidden = false;
  offer(Object.keys(ACTS));
}

/** Show the buttons of these orders alone. */
function offer(acts) {
  for (const button of document.querySelectorAll("#orders [data-act]")) button.hidden = !acts.includes(button.dataset.act);
  $("#orders").hidden = acts.length === 0;
}

function drawLinks(links) {
  redraw($("#links"), links.map((link) => link.href), () => links);
}

/** Replace children only when their data has changed, so that focus and selection survive. */
function redraw(node, data, draw) {
  const text = JSON.stringify(data);
  if (node.dataset.key === text) return;
  node.dataset.key = text;
  node.replaceChildren(...draw());
}

/** Pairs of a name and a text; those without a text are not shown. */
function factsOf(status, why) {
  const { blocked, sandbox, inspection } = status;
  const at = (iso) => iso && `${near(iso)} (${local(iso)})`;
  const asked = why.notes.findLast((note) => kindOf(note) === "request" || /^ensure: taken/.test(note.reason));
  return [
    ["doing", status.doing],
    ["goal", status.goal_due_at ? `${words(status.goal)}, changes ${at(status.goal_due_at)}` : words(status.goal)],
    ["last outcome", words(status.outcome)],
    ["blocked", blocked && `${words(blocked.cause)}, since ${at(blocked.since)}: ${blocked.reason}`],
    ["what helps", blocked?.advice],
    ["next try", blocked?.next_try_at && `${at(blocked.next_try_at)}, try ${blocked.tries + 1}`],
    ["inspection", inspection && [words(inspection.state), ...(inspection.findings ?? [])].join("; ")],
    ["last asked", asked && `${asker(asked)}, ${at(asked.at)}`],
    ["waiting", status.requests_waiting ? `${status.requests_waiting} for the sandbox` : ""],
    ["sandbox", sandbox && `${sandbox.id}${sandbox.region ? ` in ${sandbox.region}` : ""}`],
    ["created", sandbox && at(sandbox.created_at)],
    ["last activity", sandbox && at(sandbox.last_activity_at)],
    ["looked up", at(status.seen_at)],
    ["deliveries", String(status.deliveries_seen)],
  ];
}

const DOORS = { "rest.ensure": "REST", "cli.ensure": "the command line" };

/** Who asked, as far as the note says: a login, a door, or what GitHub reported. */
function asker(note) {
  const [, who] = /\bby (.+)$/.exec(note.reason) ?? [];
  return [who ?? DOORS[note.what], kindOf(note) === "delivery" && note.what].filter(Boolean).join(", ") || "a signal";
}

function noted(note) {
  const item = document.createElement("li"), kind = kindOf(note);
  item.dataset.kind = kind;
  const at = element("time", local(note.at));
  at.dateTime = note.at;
  const what = element("span", kind === "delivery" ? note.what : words(note.what), "done");
  const more = [note.phase && `phase ${note.phase}`, note.state && `state ${note.state}`, ...note.deliveries.map((delivery) => `delivery ${delivery.slice(0, DELIVERY_SHOWN)}`)];
  item.title = note.deliveries.join(" ");
  item.append(at, element("span", kind, "kind"), what, element("span", note.reason, "reason"), element("span", more.filter(Boolean).join(" · "), "more dim"));
  return item;
}

for (const button of document.querySelectorAll("#orders [data-act]")) {
  button.addEventListener("click", () => act($("#orders"), ID, name, button));
}
$("#all").href += sessionStorage.getItem(LIST_KEY) ?? "";
put($("#number"), name);
put($("#title"), name);
begin({
  read: readIssue,
  clear() {
    known = { status: "", why: null };
    name = `issue ${ID}`;
    document.title = "issuebox";
    for (const node of document.querySelectorAll("#facts dl, #timeline ol, #links")) redraw(node, null, () => []);
    for (const node of document.querySelectorAll(".chips span")) put(node, "");
    put($("#title"), name);
    put($("#number"), name);
    put($("#summary"), "Loading the issue.");
    $("#orders").hidden = $("#facts").hidden = $("#timeline").hidden = true;
  },
});
