// One issue: what its workflow knows, why, and its timeline.

const ID = location.pathname.split("/").at(-1);
const DELIVERY_SHOWN = 8;

/** The kinds of entries in the timeline, the first that fits. A kind of entry that comes later needs only a row. */
const KINDS = [
  ["run", (note) => /^run\b/.test(note.what)],
  ["blocked", (note) => note.what === "blocked"],
  ["queued", (note) => note.what === "queued"],
  ["failure", (note) => / failed$|could not be asked/.test(note.what)],
  ["request", (note) => /^((rest|cli)\.)?ensure$/.test(note.what)],
  ["delivery", (note) => /^\w+\.\w+$/.test(note.what)],
  ["order", (note) => ["stop", "delete", "replace", "retry", "look", "cancel_run", "cancel of the runs", "pause of the runs", "resume of the runs"].includes(note.what)],
  ["inspection", (note) => /^work is /.test(note.what)],
  ["decision", (note) => Boolean(note.action)],
  ["seen", () => true],
];
const kindOf = (note) => KINDS.find(([, fits]) => fits(note))[0];

const NOTHING = { runs: [], receipts: [] };

let known = { status: "", why: null, work: NOTHING };
let name = `issue ${ID}`;

async function readIssue() {
  let status;
  try {
    [status] = await ask("GET", sandboxPath(ID));
  } catch (refusal) {
    if (!(refusal instanceof Refusal) || !(refusal.status === 404 || refusal.type.endsWith("workflow-stuck"))) throw refusal;
    return { draw: () => drawRefusal(refusal), age_s: 0 };
  }
  const text = JSON.stringify(status), isKnown = known.status === text;
  const [why] = isKnown ? [known.why] : await ask("GET", `${sandboxPath(ID)}/why`);
  const hasWork = status.run || status.run_requests_waiting;
  const [work] = isKnown ? [known.work] : hasWork ? await ask("GET", runsPath(ID)) : [NOTHING];
  return { draw: () => ((known = { status: text, why, work }), draw(status, why, work)), age_s: 0 };
}

/** There is no workflow that answers: the API's sentence says why, and what helps. */
function drawRefusal(refusal) {
  const isStuck = refusal.status !== 404;
  put($("#summary"), sentence(refusal.message));
  $("#facts").hidden = $("#timeline").hidden = $("#runs").hidden = true;
  offer(isStuck ? [] : ["ensure"]);
  chips($(".chips"), { stuck: isStuck ? refusal.message : "", state: "not known" });
  drawLinks(isStuck ? outside(TEMPORAL, "Workflow in Temporal") : []);
}

function draw(status, why, work) {
  const { issue, sandbox, blocked, inspection } = status;
  name = named(issue?.repository, issue?.number, ID);
  document.title = `${name} – issuebox`;
  put($("#number"), name);
  put($("#title"), issue?.title || name);
  put($("#summary"), why.summary.replace(/^\*\*(.*?)\*\*/, "$1"));
  chips($(".chips"), { state: sandbox?.state, phase: status.phase, blocked: blocked?.cause, work: inspection?.state });
  runChip($(".run"), status.run?.state ?? (status.run_requests_waiting ? (status.run_pause ? "paused" : "waiting") : ""));
  put($(".issue-state"), issue ? `issue ${words(issue.state)}` : "");
  drawLinks([
    ...outside(issue?.url ?? "", "Issue at GitHub"),
    ...outside(TEMPORAL, "Workflow in Temporal"),
    ...outside(DAYTONA && sandbox ? DAYTONA + encodeURIComponent(sandbox.id) : "", "Sandbox at Daytona"),
  ]);
  const facts = factsOf(status, why).filter(([, value]) => value);
  redraw($("#facts dl"), facts, () => facts.flatMap(([fact, value]) => [element("dt", fact), element("dd", value)]));
  redraw($("#timeline ol"), why.notes, () => why.notes.toReversed().map(noted));
  const unmet = work.receipts.filter((receipt) => !receipt.run).toReversed();
  redraw($("#runs ol"), work, () => [...unmet.map(unserved), ...work.runs.toReversed().map((run, place) => ran(run, work.receipts, place === 0))]);
  $("#facts").hidden = $("#timeline").hidden = false;
  $("#runs").hidden = unmet.length + work.runs.length === 0;
  const isOpen = status.run_requests_waiting > 0 || (status.run && !status.run.outcome);
  const isPaused = status.run_pause !== null || status.run?.state === "paused";
  const isOffered = { cancel: isOpen, pause: isOpen && !status.run_pause, resume: isPaused };
  offer(Object.keys(ACTS).filter((act) => isOffered[act] ?? true));
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
  const { blocked, sandbox, inspection } = status, isQueued = blocked?.cause === "queued";
  const at = (iso) => iso && `${near(iso)} (${local(iso)})`;
  const asked = why.notes.findLast((note) => kindOf(note) === "request" || /^ensure: taken/.test(note.reason));
  return [
    ["doing", status.doing],
    ["goal", status.goal_due_at ? `${words(status.goal)}, changes ${at(status.goal_due_at)}` : words(status.goal)],
    ["last outcome", words(status.outcome)],
    ["queued", isQueued && `since ${at(blocked.since)}: ${blocked.reason}`],
    ["blocked", blocked && !isQueued && `${words(blocked.cause)}, since ${at(blocked.since)}: ${blocked.reason}`],
    ["what helps", blocked?.advice],
    ["next try", blocked?.next_try_at && `${at(blocked.next_try_at)}, try ${blocked.tries + 1}`],
    ["inspection", inspection && [words(inspection.state), ...(inspection.findings ?? [])].join("; ")],
    ["paused", status.run_pause && `by ${status.run_pause.by || "issuebox"}, ${at(status.run_pause.at)}${status.run_pause.reason && `: ${status.run_pause.reason}`}`],
    ["last asked", asked && `${asker(asked)}, ${at(asked.at)}`],
    ["waiting", status.requests_waiting ? `${status.requests_waiting} for the sandbox` : ""],
    ["sandbox", sandbox && `${sandbox.id}${sandbox.region ? ` in ${sandbox.region}` : ""}`],
    ["created", sandbox && at(sandbox.created_at)],
    ["last activity", sandbox && at(sandbox.last_activity_at)],
    ["looked up", at(status.seen_at)],
    ["deliveries", String(status.deliveries_seen)],
  ];
}

/** An entry with a chip, a heading, and a line for each text. */
function entry(state, heading, texts) {
  const item = document.createElement("li"), head = document.createElement("p"), chip = element("span", "", "run");
  runChip(chip, state);
  head.append(chip, element("span", heading, "done"));
  item.append(head, ...texts.filter(Boolean).map((text) => element("p", text)));
  return item;
}

/** One run: what it does or came to, what happens next or helps, and who asked for it. */
function ran(run, receipts, isNewest) {
  const times = [
    run.attempt > 1 && `attempt ${run.attempt}`,
    run.first_begun_at && `begun ${local(run.first_begun_at)}`,
    run.first_begun_at && run.ended_at && `took ${lasted(Date.parse(run.ended_at) - Date.parse(run.first_begun_at))}`,
    run.exit_code !== null && `exit code ${run.exit_code}`,
    run.cost_usd > 0 && `${run.cost_usd.toFixed(2)} USD`,
    run.branch && `branch ${run.branch}`,
  ];
  const said = run.outcome ? run.summary : run.progress;
  const item = entry(run.state, run.id, [said, run.reason && sentence(run.reason), run.trouble && sentence(run.trouble), isNewest && run.next_step]);
  const asked = receipts.filter((receipt) => receipt.run === run.id).map((receipt) => [receipt.key, receipt.author && `by ${receipt.author}`].filter(Boolean).join(" "));
  item.append(element("p", [...times, asked.join(", ")].filter(Boolean).join(" · "), "dim"), ...outside(run.pull_request, "Pull request"));
  return item;
}

/** A request that no run serves: it waits, or was refused. */
function unserved(receipt) {
  const place = receipt.place ? `, place ${receipt.place}` : "";
  return entry(receipt.state, `${receipt.key}${receipt.author ? ` by ${receipt.author}` : ""}${place}`, [receipt.reason && sentence(receipt.reason), receipt.next_step]);
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
    known = { status: "", why: null, work: NOTHING };
    name = `issue ${ID}`;
    document.title = "issuebox";
    for (const node of document.querySelectorAll("#facts dl, #runs ol, #timeline ol, #links")) redraw(node, null, () => []);
    for (const node of document.querySelectorAll(".chips span")) put(node, "");
    put($("#title"), name);
    put($("#number"), name);
    put($("#summary"), "Loading the issue.");
    $("#orders").hidden = $("#facts").hidden = $("#runs").hidden = $("#timeline").hidden = true;
  },
});
