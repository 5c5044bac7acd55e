// Keeps a page of the console fresh. Pages work without it: every link, form
// and confirmation is the server's. It never makes markup out of text: what it
// shows is what the server has made and escaped, parsed by the browser.
"use strict";

const root = document.documentElement;
const quick = 5000, slow = 60000;
let tag = "", failures = 0, timer = 0, skew = 0, last = Date.now();

// path is where this page comes from again; what was done is said once.
const here = new URL(location.href);
const acted = here.searchParams.has("done");
if (acted || here.searchParams.has("out")) {
  here.searchParams.delete("done");
  here.searchParams.delete("out");
  history.replaceState(null, "", here);
}
const path = document.querySelector("[data-from]")?.dataset.from ?? here.pathname + here.search;

const every = () => Number(root.dataset.every) || 0;

function later(ms) {
  clearTimeout(timer);
  if (every() > 0) timer = setTimeout(refresh, ms);
}

// refresh asks for the page again, with what it has: where that is still so,
// the answer is empty.
function refresh() {
  if (document.hidden) return; // looked at again, it asks at once
  const x = new XMLHttpRequest();
  x.open("GET", path);
  x.responseType = "document";
  x.timeout = 30000;
  x.setRequestHeader("Valence-Live", "1");
  if (tag) x.setRequestHeader("If-None-Match", tag);
  x.onload = () => {
    const date = Date.parse(x.getResponseHeader("Date") ?? "");
    if (date) skew = date - Date.now();
    if (x.status === 401) {
      here.hash = "";
      return location.replace(here); // to sign in
    }
    if (x.status !== 200 && x.status !== 304) return missed(x.status === 404 || x.status === 403);
    failures = 0;
    last = Date.now();
    document.getElementById("stale").hidden = true;
    if (x.status === 200 && x.response) {
      tag = x.getResponseHeader("ETag") ?? "";
      take(x.response);
    }
    later(every());
  };
  x.onerror = x.ontimeout = () => missed(false);
  x.send();
}

function missed(gone) {
  failures++;
  const stale = document.getElementById("stale");
  stale.textContent = gone ? "This is gone, or is not yours to see any more. What you see is old." :
    "The control plane does not answer. What you see is from " + new Date(last).toISOString().slice(11, 19) + " UTC; it is asked again by itself. Atoms go on with what they have.";
  stale.hidden = false;
  if (!gone) later(Math.min(slow, quick * 2 ** Math.max(0, failures - 4)));
}

// take puts what is new into the parts of the page that live.
function take(fresh) {
  root.dataset.every = fresh.documentElement.dataset.every ?? "0";
  document.title = fresh.title;
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(part.id);
    if (next) renew(part, next);
  }
  ages();
}

// renew makes a part of the page like a new one. What had the focus has it
// afterwards, also where its row was moved.
function renew(part, next) {
  const focused = document.activeElement;
  morph(part, next);
  if (focused !== document.activeElement && focused.isConnected && part.contains(focused)) focused.focus({ preventScroll: true });
}

// morph makes one element like another and keeps what is the same, so that a
// selection, a focus or a half clicked button stays where it is. Rows are
// known by their id: a button never becomes that of another row.
function morph(old, next) {
  for (const a of [...old.attributes]) if (!next.hasAttribute(a.name) && a.name !== "open") old.removeAttribute(a.name);
  for (const a of next.attributes) if (a.name !== "open" && old.getAttribute(a.name) !== a.value) old.setAttribute(a.name, a.value);
  const wanted = new Set(), known = new Map();
  for (const c of next.children) if (c.id) wanted.add(c.id);
  for (const c of [...old.children]) {
    if (c.id && !wanted.has(c.id)) c.remove(); // first: then fewer of the others have to move
    else if (c.id) known.set(c.id, c);
  }
  let at = old.firstChild;
  for (const want of [...next.childNodes]) {
    let have = at;
    if (want.id && known.has(want.id)) {
      have = known.get(want.id);
      if (have !== at) old.insertBefore(have, at);
    } else if (!have || have.nodeName !== want.nodeName || have.id || want.id) {
      have = document.importNode(want, true);
      old.insertBefore(have, at);
      continue;
    }
    at = have.nextSibling;
    if (want.nodeType === Node.ELEMENT_NODE) morph(have, want);
    else if (have.nodeValue !== want.nodeValue) have.nodeValue = want.nodeValue;
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

// ages says how long ago times are, by the server's clock.
function ages() {
  const now = Date.now() + skew;
  for (const t of document.querySelectorAll("time[datetime]")) {
    const ago = t.querySelector(".ago");
    const text = age(now - Date.parse(t.dateTime));
    if (ago && ago.textContent !== text) ago.textContent = text;
  }
}

function age(ms) {
  const s = Math.abs(ms) / 1000;
  const text = s < 2 ? "" : s < 60 ? Math.floor(s) + " s" : s < 3600 ? Math.floor(s / 60) + " min" : s < 172800 ? Math.floor(s / 3600) + " h" : Math.floor(s / 86400) + " days";
  return text === "" ? "just now" : ms < 0 ? "in " + text : text + " ago";
}

// Buttons that copy what stands in another element.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const from = document.getElementById(button.dataset.copy);
  try {
    await navigator.clipboard.writeText(from.textContent.trim());
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(from);
    button.textContent = "Press Ctrl+C";
  }
});

// A further line of a form, like the last one.
document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-more]");
  if (!button) return;
  const rows = document.getElementById(button.dataset.more);
  const row = rows.lastElementChild.cloneNode(true);
  for (const input of row.querySelectorAll("input")) input.value = "";
  rows.append(row);
  row.querySelector("input").focus();
});
for (const button of document.querySelectorAll("[data-more], [data-copy]")) button.hidden = false;

// A secret is not readable over the shoulder while it is pasted.
document.addEventListener("input", (event) => {
  if (event.target.matches("#set [name=name]")) document.querySelector("#set textarea").classList.toggle("secret", event.target.value.startsWith("secret."));
});

// A form is sent once, however often its button is pressed.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post") return;
  if (event.target.dataset.sent) return event.preventDefault();
  event.target.dataset.sent = "1";
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && every() > 0) refresh();
});
ages();
setInterval(ages, 5000);
later(acted ? Math.min(1000, every()) : every()); // what was done just now shows soon
