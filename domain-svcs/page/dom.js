// Small helpers for the page: elements whose text is always text, drawing once a frame, times and ids.

/** Makes an element. Children that are strings become text, never markup. */
export function h(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** Makes an element of a drawing. */
export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const by = (id) => document.getElementById(id);

/** Writes text only where it differs, so that nothing is announced or drawn twice. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** The rest after a frame, in times of what it took: the page takes a third of a processor at most. */
const REST = 2;
const LONGEST_REST = 300;

/** Calls `draw` in the next frame, however often it was asked for until then; under load, after a rest. */
export function onFrame(draw) {
  let due = false;
  let rested = 0;
  const frame = () => {
    due = false;
    const begun = performance.now();
    draw();
    rested = Infinity;
    // After the frame, which lays out and paints what was drawn.
    setTimeout(() => {
      const end = performance.now();
      rested = end + Math.min((end - begun) * REST, LONGEST_REST);
      if (due) later();
    });
  };
  const later = () => setTimeout(() => requestAnimationFrame(frame), rested - performance.now());
  return () => {
    if (due) return;
    due = true;
    // A hidden page has no frames, and draws when it is seen again.
    if (rested <= performance.now()) requestAnimationFrame(frame);
    else if (rested < Infinity) later();
  };
}

/** What is new is shown to be so, unless that much is new that nobody could follow. */
export const MOST_FRESH = 12;

const clock = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3,
});
const day = new Intl.DateTimeFormat("en-GB", {
  day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit",
});
const whole = new Intl.NumberFormat("en-GB");

/** Seconds since 1970 as the time of day. */
export const time = (seconds) => (Number.isFinite(seconds) ? clock.format(seconds * 1000) : "");
export const date = (seconds) => (Number.isFinite(seconds) ? day.format(seconds * 1000) : "");
export const number = (value) => whole.format(value ?? 0);
export const euros = (value) => (Number.isFinite(value) ? `${whole.format(value)} €` : "");
export const plural = (count, one, many = `${one}s`) => `${whole.format(count)} ${count === 1 ? one : many}`;

/** A time between two moments, as short as it can be said. */
export function lapse(seconds) {
  if (!Number.isFinite(seconds)) return "";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

/** The first part of an id, which tells it from the others on the page. */
export const short = (id) => (typeof id === "string" && id.length > 12 ? id.slice(0, 8) : String(id ?? ""));
export const shortId = (id) => h("span", { class: "id", title: id }, short(id));
