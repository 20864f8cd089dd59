// What changes asks for itself again when the stream names it; previews are written into the page as they come.
"use strict";

const stream = document.getElementById("stream");
const watched = document.body.dataset.watch.split(" ").filter(Boolean);

function localTimes() {
  for (const time of document.querySelectorAll("time:not([data-local])")) {
    const at = new Date(time.dateTime);
    time.textContent = at.toLocaleTimeString([], { hour12: false });
    time.title = at.toLocaleString();
    time.dataset.local = "";
  }
}

// --- the stream -----------------------------------------------------------

let due = null;

function refresh() {
  if (due !== null) return;
  due = setTimeout(() => {
    due = null;
    const live = document.getElementById("live");
    if (live && !document.hidden) htmx.trigger(live, "live");
  }, 60);
}

function showDelta(delta) {
  const shown = document.querySelector(`[data-turn="${CSS.escape(delta.turn_id)}"]`);
  if (!shown) return refresh();
  const [term, attempt] = shown.dataset.attempt.split(".").map(Number);
  const isNewer = delta.term > term || (delta.term === term && delta.attempt > attempt);
  if (!isNewer && (delta.term !== term || delta.attempt !== attempt)) return;
  if (isNewer) shown.dataset.attempt = `${delta.term}.${delta.attempt}`;
  const before = isNewer ? "" : shown.textContent;
  // `at` counts code points; what does not continue the text is in the part that asks for itself again.
  if ([...before].length === delta.at) shown.textContent = before + delta.text;
  stayAtEnd();
}

function follow() {
  const address = new URL("/stream", location.href);
  for (const name of watched) address.searchParams.append("watch", name);
  // What changed between the making of this page and now is sent first.
  address.searchParams.set("after", document.body.dataset.after);
  const source = new EventSource(address);
  source.addEventListener("open", () => { stream.textContent = "live"; stream.dataset.state = "live"; });
  source.addEventListener("error", () => { stream.textContent = "reconnecting"; stream.dataset.state = "away"; });
  source.addEventListener("changed", refresh);
  source.addEventListener("reset", refresh);
  source.addEventListener("delta", (event) => showDelta(JSON.parse(event.data)));
  addEventListener("pagehide", () => source.close());
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
}

// --- what moves -----------------------------------------------------------

let places = new Map();

function notePlaces() {
  places = new Map([...document.querySelectorAll("[data-move]")].map((cell) => [cell.dataset.move, cell.getBoundingClientRect()]));
}

function movePieces() {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  for (const cell of document.querySelectorAll("[data-move]")) {
    const before = places.get(cell.dataset.move);
    const now = cell.getBoundingClientRect();
    if (!before || (Math.abs(before.x - now.x) < 2 && Math.abs(before.y - now.y) < 2)) continue;
    cell.animate(
      [{ transform: `translate(${before.x - now.x}px, ${before.y - now.y}px)`, zIndex: 2 }, { transform: "none", zIndex: 2 }],
      { duration: 500, easing: "cubic-bezier(.2,.8,.2,1)" });
  }
}

let wasAtEnd = true;
const isAtEnd = () => innerHeight + scrollY >= document.documentElement.scrollHeight - 120;

function stayAtEnd() {
  if (wasAtEnd && document.querySelector(".transcript")) scrollTo({ top: document.documentElement.scrollHeight });
}

addEventListener("scroll", () => { wasAtEnd = isAtEnd(); }, { passive: true });
document.addEventListener("htmx:before:swap", () => { wasAtEnd = isAtEnd(); notePlaces(); });
document.addEventListener("htmx:after:swap", () => { localTimes(); movePieces(); stayAtEnd(); });

// --- forms ----------------------------------------------------------------

async function send(form) {
  const note = form.querySelector("[role=status]");
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const answer = await fetch(form.action, {
      method: "POST",
      headers: { "Content-Type": "application/x-www-form-urlencoded", Accept: "application/json" },
      body: new URLSearchParams(new FormData(form)),
    });
    if (note) note.textContent = answer.ok ? "" : await answer.text();
    else if (!answer.ok) alert(await answer.text());
    if (answer.ok && "clears" in form.dataset) { form.reset(); wasAtEnd = true; }
  } catch {
    if (note) note.textContent = "The console does not answer.";
  } finally {
    button.disabled = false;
    if (note) form.querySelector("textarea").focus();
  }
}

document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-send]");
  if (!form) return;
  event.preventDefault();
  if (!form.dataset.confirm || confirm(form.dataset.confirm)) send(form);
});

document.addEventListener("keydown", (event) => {
  const text = event.target.closest?.(".composer textarea");
  if (text && event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    text.form.requestSubmit();
  }
});

document.addEventListener("change", (event) => {
  if (event.target.matches("[data-auto]")) event.target.form.requestSubmit();
});

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const isDark = getComputedStyle(root).colorScheme === "dark" ||
    (root.dataset.theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
  root.dataset.theme = isDark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
  dispatchEvent(new Event("theme"));
});

localTimes();
if (watched.length) follow();
if (document.querySelector(".transcript")) scrollTo({ top: document.documentElement.scrollHeight });
