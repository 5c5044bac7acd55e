// Refreshes a page of the console. Pages work without it: the server renders
// every link, form and confirmation. The script never turns text into markup:
// it only inserts what the server has rendered and escaped.
"use strict";

const root = document.documentElement;
const quick = 5000, slow = 60000;
let tag = "", failures = 0, timer = 0, skew = 0, last = Date.now();

// path is the URL to refresh from, without the message about the last action.
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

// refresh requests the page with the tag of the current content. An unchanged
// page has an empty response.
function refresh() {
  if (document.hidden) return; // a page that becomes visible refreshes at once
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
      return location.replace(here); // to the sign-in page
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
  stale.textContent = gone ? "This was removed or is no longer visible to you. The page shows old data." :
    "The control plane is not responding. The page shows data from " + new Date(last).toISOString().slice(11, 19) + " UTC and retries automatically. Atoms keep working.";
  stale.hidden = false;
  if (!gone) later(Math.min(slow, quick * 2 ** Math.max(0, failures - 4)));
}

// take updates the live parts of the page.
function take(fresh) {
  root.dataset.every = fresh.documentElement.dataset.every ?? "0";
  document.title = fresh.title;
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(part.id);
    if (next) renew(part, next);
  }
  ages();
}

// renew updates a part of the page and keeps the focus, even if the focused
// row has moved.
function renew(part, next) {
  const focused = document.activeElement;
  morph(part, next);
  if (focused !== document.activeElement && focused.isConnected && part.contains(focused)) focused.focus({ preventScroll: true });
}

// morph changes an element into another and keeps the equal parts, so that a
// selection, the focus or a pressed button is preserved. Rows are matched by
// id: a button never becomes the button of another row.
function morph(old, next) {
  for (const a of [...old.attributes]) if (!next.hasAttribute(a.name) && a.name !== "open") old.removeAttribute(a.name);
  for (const a of next.attributes) if (a.name !== "open" && old.getAttribute(a.name) !== a.value) old.setAttribute(a.name, a.value);
  const wanted = new Set(), known = new Map();
  for (const c of next.children) if (c.id) wanted.add(c.id);
  for (const c of [...old.children]) {
    if (c.id && !wanted.has(c.id)) c.remove(); // first, so that fewer others must move
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

// ages updates relative times by the server's clock.
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

// Buttons that copy the text of another element.
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

// Adds a line to a form, like the last one.
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

// Hides a secret while it is being pasted.
document.addEventListener("input", (event) => {
  if (event.target.matches("#set [name=name]")) document.querySelector("#set textarea").classList.toggle("secret", event.target.value.startsWith("secret."));
});

// Sends a form once, however often its button is pressed.
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
later(acted ? Math.min(1000, every()) : every()); // an action shows its effect soon
