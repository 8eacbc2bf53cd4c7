// The demo phone. The server holds the truth; this draws it, and asks for news by a call that hangs until there is some.
// Everything that people or the bridge wrote goes onto the page by textContent only.
"use strict";

const PLACE = { Latitude: "43.7696", Longitude: "11.2558", Label: "Hotel Bella", Address: "Via Roma 3, Florence" };
const PLACE_IN_WORDS =
  "Location: Hotel Bella, Via Roma 3, Florence, 43.7696, 11.2558\nhttps://www.google.com/maps/search/?api=1&query=43.7696,11.2558";
const CHIPS = ["What are your opening hours?", "A table for two on Friday at 8 pm, please", "Who am I?", "How much is dinner?"];
const CHOICES = [
  { label: "Off", title: "never", set: { percent: 0 } },
  { label: "Once", title: "the next time only", set: { next: 1 } },
  { label: "Sometimes", title: "about 3 times in 10", set: { percent: 30 } },
  { label: "Mostly", title: "about 9 times in 10", set: { percent: 90 } },
];
const GROUPS = { agent: "Agent", carrier: "Carrier", callbacks: "Delivery reports", webhooks: "Webhooks" };
const PROGRESS = {
  sending: { ticks: "◔", words: "Sending" },
  accepted: { ticks: "✓", words: "The bridge has it" },
  received: { ticks: "✓✓", words: "The agent received it" },
  failed: { ticks: "!", words: "The bridge did not take it" },
};
const FATE = {
  accepted: { ticks: "◔", words: "The carrier has it" },
  queued: { ticks: "◔", words: "The carrier has it" },
  sent: { ticks: "✓", words: "Sent" },
  delivered: { ticks: "✓✓", words: "Delivered" },
  read: { ticks: "✓✓", words: "Read" },
  failed: { ticks: "!", words: "Not delivered" },
  undelivered: { ticks: "!", words: "Not delivered" },
  refused: { ticks: "!", words: "Refused by the carrier" },
};
const DEAD = new Set(["failed", "undelivered", "refused"]);
const CHANNELS = { sms: "SMS", whatsapp: "WhatsApp", rcs: "RCS" };
const BREATH = 100; // ms between two questions for news, so that a busy run does not keep the page drawing
const GROUP_GAP = 120; // seconds between two texts that still belong together

const $ = (id) => document.getElementById(id);
let state = null;
let me = null; // the phone that is shown
let group = "agent";
let atEnd = true; // the newest text is in sight
const seen = new Map(); // phone -> texts received when it was last shown
const drawn = new Map(); // sid -> bubble of the phone that is shown

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

async function post(path, body) {
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body || {}),
  });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const clockWithSeconds = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const dayName = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const seconds = (at) => new Date(at * 1000);
const nameOf = (phone) => state.people.find((person) => person.phone === phone)?.name || phone || "";
const received = (person) => person.texts.filter((text) => !text.mine && !DEAD.has(text.progress)).length;
const because = (code, plain) => `${plain} (${code})`;

// ---------------------------------------------------------------- people

function drawPeople() {
  const list = $("people");
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.phone : null;
  const rows = state.people.filter(worthARow).map((person) => {
    const row = make("li");
    const button = make("button", "person");
    const last = person.texts.at(-1);
    const unread = person.phone === me ? 0 : received(person) - (seen.get(person.phone) || 0);
    const avatar = make("span", "avatar", person.name[0]);
    avatar.style.setProperty("--hue", String((hueOf(person) * 67 + 190) % 360));
    avatar.setAttribute("aria-hidden", "true");
    button.type = "button";
    button.dataset.phone = person.phone;
    button.setAttribute("aria-current", String(person.phone === me));
    button.append(avatar, make("strong", "", person.name), make("time", "", last ? clock.format(seconds(last.at)) : ""));
    const preview = person.thinking ? "is being answered …" : last ? last.body || "Picture" : person.number;
    const line = make("span", "last");
    line.append(...tags(person), preview);
    button.append(line);
    if (unread > 0) {
      const badge = make("span", "badge", String(unread));
      badge.setAttribute("aria-label", `${unread} unread`);
      button.append(badge);
    }
    button.addEventListener("click", () => show(person.phone));
    row.append(button);
    return row;
  });
  list.replaceChildren(...rows);
  if (focused) list.querySelector(`[data-phone="${CSS.escape(focused)}"]`)?.focus();
  const unread = state.people.reduce((sum, p) => sum + (p.phone === me ? 0 : received(p) - (seen.get(p.phone) || 0)), 0);
  badge("views-unread", unread);
}

// Whoever was tried on another channel and wrote nothing there is no second person.
function worthARow(person) {
  const used = (one) => one.texts.length > 0 || one.phone === me;
  const same = state.people.filter((other) => other.number === person.number);
  return used(person) || (same[0] === person && !same.some(used));
}

const hueOf = (person) => state.people.findIndex((other) => other.number === person.number);

function tags(person) {
  const found = [];
  if (person.channel !== "sms") found.push(make("span", `tag ${person.channel}`, CHANNELS[person.channel]));
  if (person.fails) {
    found.push(make("span", "tag fails", String(person.fails.code)));
    found.at(-1).title = `Texts do not arrive: ${person.fails.plain}`;
  }
  return found;
}

function badge(id, count) {
  $(id).hidden = count <= 0;
  $(id).textContent = String(count);
}

function show(phone) {
  me = phone;
  drawn.clear();
  $("bubbles").replaceChildren();
  view("phone");
  draw();
  toEnd();
  if (matchMedia("(min-width: 721px)").matches) $("composer-text").focus();
}

// ---------------------------------------------------------------- the phone

function drawPhone() {
  const person = state.people.find((one) => one.phone === me);
  if (!person) return;
  $("whose").textContent = `${person.name}’s phone`;
  $("whose").title = person.phone;
  $("channel").querySelector(`[value="${person.channel}"]`).checked = true;
  notice(person);
  const first = drawn.size === 0;
  let changed = false;
  const there = new Set(person.texts.map((text) => text.sid));
  for (const [sid, bubble] of drawn) {
    if (there.has(sid)) continue;
    bubble.remove(); // it was refused, and is there after all
    drawn.delete(sid);
  }
  person.texts.forEach((text, index) => {
    const known = drawn.get(text.sid);
    if (known && known.dataset.progress === progressOf(text)) return;
    changed = true;
    if (known) return underline(known, text);
    const before = person.texts[index - 1];
    if (!before || dayName.format(seconds(before.at)) !== dayName.format(seconds(text.at))) {
      $("bubbles").append(make("div", "day", dayName.format(seconds(text.at))));
    }
    const bubble = drawBubble(text, before, first);
    drawn.set(text.sid, bubble);
    $("bubbles").append(bubble);
  });
  seen.set(me, received(person));
  changed = think(person) || changed;
  drawChips(person);
  if (changed && (atEnd || first)) toEnd();
}

function toEnd() {
  atEnd = true;
  $("thread").scrollTop = $("thread").scrollHeight;
}

function drawBubble(text, before, old) {
  const whose = text.mine ? "mine" : text.carrier ? "carrier" : "theirs";
  const by = (one) => [one.mine, one.carrier, one.outside].join();
  const bubble = make("div", `bubble ${whose}${old ? "" : " fresh"}`);
  if (before && by(before) === by(text) && text.at - before.at < GROUP_GAP) bubble.classList.add("again");
  for (let i = 0; i < text.media; i++) {
    const picture = make("img");
    picture.src = "/static/picture.png";
    picture.alt = "A small harbour at sunset";
    picture.width = 200;
    picture.height = 133;
    bubble.append(picture);
  }
  if (text.body) bubble.append(make("div", "body", text.body));
  if (whose === "theirs") {
    bubble.title = "Double-click to like it";
    bubble.addEventListener("dblclick", () => send({ tap: "Liked", on: text.sid }));
  }
  bubble.append(make("div", "under"));
  underline(bubble, text);
  return bubble;
}

const progressOf = (text) => `${text.progress} ${text.code || ""}`;

function underline(bubble, text) {
  const under = bubble.querySelector(".under");
  const time = clock.format(seconds(text.at));
  const dead = DEAD.has(text.progress);
  bubble.dataset.progress = progressOf(text);
  bubble.classList.toggle("failed", dead);
  under.className = `under ${dead ? "failed" : text.progress}`;
  const progress = text.outside ? null : (text.mine ? PROGRESS : FATE)[text.progress];
  if (!progress) return under.replaceChildren(make("time", "", text.carrier ? `From the carrier, ${time}` : text.outside ? `From another tool, ${time}` : time));
  const ticks = make("span", progress.ticks.length > 1 ? "ticks" : "", progress.ticks);
  ticks.setAttribute("role", "img");
  ticks.setAttribute("aria-label", progress.words);
  const why = text.mine ? text.detail : because(text.code, text.detail);
  under.title = progress.words;
  under.replaceChildren(ticks, " ", dead ? `Not delivered: ${why}` : time);
}

function notice(person) {
  const box = $("notice");
  const words = person.opted_out
    ? `${person.name} has said STOP. The carrier lets nothing through until START.`
    : person.fails
      ? `Texts do not get to ${person.name}: ${because(person.fails.code, person.fails.plain)}.`
      : "";
  box.classList.toggle("shut", person.opted_out);
  box.hidden = !words;
  if (box.textContent !== words) box.textContent = words;
}

function think(person) {
  const changed = $("typing").hidden === person.thinking;
  $("typing").hidden = !person.thinking;
  if (changed) $("typing-said").textContent = person.thinking ? "The agent is thinking" : "";
  return changed;
}

function drawChips(person) {
  const box = $("suggestions");
  box.hidden = person.texts.length > 0;
  $("welcome").hidden = box.hidden;
  if (box.hidden || box.childElementCount) return;
  box.replaceChildren(...CHIPS.map((words) => {
    const chip = make("button", "", words);
    chip.type = "button";
    chip.addEventListener("click", () => text(words));
    return chip;
  }));
}

async function meet(wanted) {
  const { phone } = await post("/simulator/people", wanted);
  state = await (await fetch("/simulator/state", { cache: "no-store" })).json();
  show(phone);
}

const text = (body, media = 0) => send({ body, media });

async function send(what) {
  try {
    await post("/simulator/texts", { from: me, ...what });
    toEnd();
  } catch {
    say("The text could not be sent. Is the demo still running?");
  }
}

function say(words) {
  $("banner").textContent = words;
  $("banner").hidden = !words;
}

// ---------------------------------------------------------------- trouble

function drawTrouble() {
  const on = state.faults.filter((fault) => fault.percent || fault.next);
  badge("views-faults", on.length);
  $("all-off").disabled = on.length === 0;
  drawGroups(on);
  const box = $("faults");
  if (box.dataset.group !== group) {
    box.dataset.group = group;
    box.replaceChildren(...state.faults.filter((fault) => fault.group === group).map(drawFault));
  }
  for (const fault of state.faults) {
    const row = box.querySelector(`[data-fault="${fault.name}"]`);
    if (!row) continue;
    const chosen = choiceOf(fault);
    row.classList.toggle("on", chosen > 0);
    row.querySelectorAll("input")[chosen].checked = true;
    const code = row.querySelector("select");
    if (code && chosen) code.value = String(fault.options.code);
  }
}

function drawGroups(on) {
  const tabs = $("trouble-tabs");
  if (!tabs.childElementCount) {
    for (const [name, title] of Object.entries(GROUPS)) {
      const tab = make("button");
      tab.type = "button";
      tab.dataset.group = name;
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", "faults");
      tab.append(make("span", "", title), make("b", "badge warn"));
      tab.addEventListener("click", () => { group = name; drawTrouble(); });
      tabs.append(tab);
    }
    arrowKeys(tabs);
  }
  for (const tab of tabs.children) {
    const count = on.filter((fault) => fault.group === tab.dataset.group).length;
    select(tab, tab.dataset.group === group);
    tab.querySelector(".badge").hidden = !count;
    tab.querySelector(".badge").textContent = String(count);
  }
}

function choiceOf(fault) {
  if (fault.next) return 1;
  if (!fault.percent) return 0;
  return fault.percent <= 50 ? 2 : 3;
}

function drawFault(fault) {
  const row = make("fieldset", "fault");
  row.dataset.fault = fault.name;
  row.append(make("legend", "hidden-but-said", fault.title));
  const about = make("div", "about");
  about.append(make("b", "", fault.title), make("small", "", fault.description));
  const code = fault.options.code ? about.appendChild(drawCodes(fault)) : null;
  const choice = make("div", "choice");
  for (const option of CHOICES) {
    const label = make("label", "", option.label);
    const input = make("input");
    input.type = "radio";
    input.name = fault.name;
    label.title = option.title;
    input.addEventListener("change", () => play(fault.name, option, code));
    label.append(input);
    choice.append(label);
  }
  if (code) {
    code.addEventListener("change", () => {
      const chosen = [...choice.querySelectorAll("input")].findIndex((input) => input.checked);
      if (chosen) play(fault.name, CHOICES[chosen], code);
    });
  }
  row.append(about, choice);
  return row;
}

function play(name, option, code) {
  return post("/simulator/faults", { name, ...option.set, ...(code ? { code: Number(code.value) } : {}) });
}

function drawCodes(fault) {
  const codes = make("select");
  codes.setAttribute("aria-label", `${fault.title}: the reason`);
  for (const { code, plain, at_once } of state.reasons) {
    if (fault.group === "callbacks" && at_once && code !== 21610) continue; // that one comes late too
    const option = make("option", "", because(code, plain));
    option.value = String(code);
    codes.append(option);
  }
  codes.value = String(fault.options.code);
  return codes;
}

// ---------------------------------------------------------------- news

const GOOD = /^(ok|done|stored|answered|sent|delivered|ended|accepted|read)/i;
const BAD = /(fail|given|refused|undelivered|lost|error)/i;
const tone = (words) => (BAD.test(words) ? "bad" : GOOD.test(words) ? "good" : "busy");

function drawWatch() {
  const box = $("watch");
  if (state.watch === null) {
    return box.replaceChildren(make("p", "note", "The bridge does not show its work here. Start it with “bridge demo” to look inside."));
  }
  if (!state.watch.length) {
    return box.replaceChildren(make("p", "note", "Nothing yet. Send a text, and watch it being stored, answered and delivered."));
  }
  const table = make("table", "rows");
  const head = table.createTHead().insertRow();
  for (const title of ["Time", "Who", "What", "State", "Detail"]) {
    const cell = make("th", "", title);
    cell.scope = "col";
    head.append(cell);
  }
  const body = table.createTBody();
  for (const row of state.watch) {
    const cells = body.insertRow();
    const moment = new Date(row.time);
    cells.insertCell().textContent = Number.isNaN(moment.getTime()) ? "" : clockWithSeconds.format(moment);
    cells.insertCell().textContent = nameOf(row.phone);
    cells.insertCell().textContent = row.kind;
    cells.insertCell().append(make("span", `state ${tone(row.state)}`, row.state));
    cells.insertCell().textContent = row.detail;
  }
  box.replaceChildren(table);
}

const quote = (words) => `“${words.length > 90 ? `${words.slice(0, 90)}…` : words}”`;
const reasonOf = (code) => because(code, state.reasons.find((one) => one.code === code)?.plain || "an error");
const TELL = {
  text: (e) => [e.media ? `texted ${e.media} picture${e.media > 1 ? "s" : ""} ${e.body ? quote(e.body) : ""}` : `texted ${quote(e.body)}`],
  webhook: (e) => (e.ok ? [`webhook answered ${e.status}`] : [`webhook failed: ${e.detail}`, "bad"]),
  received: (e) => [`agent received ${quote(e.content)}`],
  replied: (e) => [`agent replied ${quote(e.content)}`],
  greeted: (e) => [`agent greeted ${quote(e.content)}`],
  closing_words: (e) => [`agent closed with ${quote(e.content)}`],
  sent: (e) => [`carrier took ${quote(e.body)}`],
  outside: (e) => [`another tool sent ${quote(e.body)}`],
  refused: (e) => [`carrier refused ${quote(e.body)}: ${reasonOf(e.code)}`, "bad"],
  failed: (e) => [`text ${e.status}: ${reasonOf(e.code)}`, "bad"],
  carrier_reply: (e) => [`carrier answered ${quote(e.body)}`],
  callback: (e) => (e.ok ? [`told the bridge: ${e.status}`] : [`could not tell the bridge ${e.status}: ${e.detail}`, "bad"]),
  chat_opened: () => ["chat opened"],
  contact_read: () => ["contact read"],
  contact_changed: (e) => [`contact: do_not_call ${e.do_not_call}`],
  chat_closed: (e) => [`chat ended by ${{ agent: "the agent", bridge: "the bridge", silence: "silence", fault: "a fault" }[e.why] || e.why}`],
  team_told: (e) => [`the team was told: ${e.reason}`, "busy"],
  handed_over: () => ["a human got the chat", "busy"],
  handed_back: () => ["the human handed the chat back"],
  fault: (e) => [`fault: ${state.faults.find((fault) => fault.name === e.name)?.title || e.name}`, "busy"],
  wrong: (e) => [`wrong: ${e.name} ${e.detail}`, "bad"],
};

function drawEvents() {
  $("events").replaceChildren(...state.events.map((event) => {
    const [words, sort] = TELL[event.kind] ? TELL[event.kind](event) : [event.kind];
    const row = make("li");
    row.append(make("time", "", clockWithSeconds.format(seconds(event.at))), make("span", "who", nameOf(event.phone || event.to)), make("span", `what ${sort || ""}`, words));
    return row;
  }));
}

// ---------------------------------------------------------------- tabs and views

function select(tab, selected) {
  tab.setAttribute("aria-selected", String(selected));
  tab.tabIndex = selected ? 0 : -1;
}

function arrowKeys(list) {
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const tabs = [...list.querySelectorAll("[role=tab]")];
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    next.focus();
    next.click();
  });
}

function view(name) {
  document.body.dataset.view = name;
  for (const button of document.querySelectorAll(".views button")) {
    button.toggleAttribute("aria-current", button.dataset.view === name);
    if (button.dataset.view === name) button.setAttribute("aria-current", "true");
  }
}

function draw() {
  drawPeople();
  drawPhone();
  drawTrouble();
  drawWatch();
  drawEvents();
}

// ---------------------------------------------------------------- life

async function live() {
  let lost = false;
  for (;;) {
    try {
      const known = state ? `?version=${state.version}&watched=${encodeURIComponent(state.watched)}` : "";
      const response = await fetch(`/simulator/state${known}`, { cache: "no-store" });
      if (!response.ok) throw new Error(String(response.status));
      state = await response.json();
      if (!me) start();
      if (lost || !$("banner").textContent) say(state.connected ? "" : "No bridge is connected yet: texts will not be accepted.");
      lost = false;
      draw();
      await new Promise((go) => setTimeout(go, BREATH));
    } catch {
      lost = true;
      say("The demo does not answer. This page goes on by itself when it is back.");
      await new Promise((go) => setTimeout(go, 2000));
    }
  }
}

function start() {
  me = state.people[0].phone;
  $("new-fate").append(...state.failing.map(({ code, plain }) => {
    const option = make("option", "", `who gets none: ${because(code, plain)}`);
    option.value = String(code);
    return option;
  }));
  for (const person of state.people) seen.set(person.phone, received(person)); // what was there before is not news
}

function tick() {
  $("clock").textContent = clock.format(new Date());
  setTimeout(tick, 1000 * (60 - new Date().getSeconds()));
}

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = $("composer-text");
  const body = field.value.trim();
  field.value = "";
  if (body) text(body);
});
$("outside").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = $("outside-text");
  const body = field.value.trim() || field.placeholder;
  field.value = "";
  post("/simulator/outside", { to: me, body }).catch(() => {});
});
$("picture").addEventListener("click", () => text("", 1));
$("place").addEventListener("click", () => send({ fields: PLACE, received_as: PLACE_IN_WORDS }));
for (const word of $("keywords").children) word.addEventListener("click", () => text(word.textContent));
$("new-person").addEventListener("click", () => {
  const code = Number($("new-fate").value);
  meet(code ? { code } : {});
  $("new-fate").value = "";
});
$("channel").addEventListener("change", (event) => meet({ of: me, channel: event.target.value }));
$("all-off").addEventListener("click", () => post("/simulator/faults", { clear: true }));
for (const tab of document.querySelectorAll(".news [role=tab]")) {
  tab.addEventListener("click", () => {
    for (const one of document.querySelectorAll(".news [role=tab]")) {
      select(one, one === tab);
      $(one.getAttribute("aria-controls")).hidden = one !== tab;
    }
  });
}
arrowKeys(document.querySelector(".news [role=tablist]"));
for (const button of document.querySelectorAll(".views button")) {
  button.addEventListener("click", () => view(button.dataset.view));
}
$("thread").addEventListener("scroll", () => {
  const thread = $("thread");
  atEnd = thread.scrollHeight - thread.scrollTop - thread.clientHeight < 60;
}, { passive: true });
new ResizeObserver(() => atEnd && toEnd()).observe($("thread")); // a keyboard came up, or the window changed
tick();
live();
