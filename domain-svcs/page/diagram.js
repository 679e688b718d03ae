// The state diagram of an order: what it went through, where it is, where it may go.

import { lapse, svg, time } from "./dom.js";
import { label } from "./words.js";

const SIZE = { width: 136, height: 50 };
const GAP = { x: 40, y: 34 };
/** Where each state stands, in columns and rows. */
const PLACES = {
  CREATED: [0, 0], IN_STOCK: [0, 1], CLEARED: [0, 2], SHIPPED: [0, 3], DELIVERED: [0, 4],
  OUT_OF_STOCK: [1, 1], UNCLEARED: [1, 3],
};
const STEPS = [
  ["CREATED", "IN_STOCK"], ["CREATED", "OUT_OF_STOCK"], ["IN_STOCK", "CLEARED"],
  ["CLEARED", "SHIPPED"], ["CLEARED", "UNCLEARED"], ["SHIPPED", "DELIVERED"],
];

const left = (state) => 4 + PLACES[state][0] * (SIZE.width + GAP.x);
const top = (state) => 4 + PLACES[state][1] * (SIZE.height + GAP.y);

/** The line from a state to the next: straight down, or branching off to the side. */
function path(from, to) {
  const [x1, x2] = [left(from) + SIZE.width / 2, left(to) + SIZE.width / 2];
  const [y1, y2] = [top(from) + SIZE.height, top(to) - 7];
  if (x1 === x2) return `M${x1} ${y1}V${y2}`;
  const y = y1 + GAP.y / 2;
  return `M${x1} ${y1}V${y - 8}Q${x1} ${y} ${x1 + 8} ${y}H${x2 - 8}Q${x2} ${y} ${x2} ${y + 8}V${y2}`;
}

/** Draws it. `reached` tells when each state was reached, in seconds; `now` is the state it is in, if any. */
export function diagram(reached, now) {
  const width = 8 + 2 * SIZE.width + GAP.x;
  const height = 8 + 5 * SIZE.height + 4 * GAP.y;
  const arrow = (id) => svg("marker", {
    id, viewBox: "0 0 8 8", refX: 2, refY: 4, markerWidth: 8, markerHeight: 8, orient: "auto", markerUnits: "userSpaceOnUse",
  }, svg("path", { d: "M0 0L8 4L0 8z" }));

  const lines = STEPS
    .map(([from, to]) => ({ from, to, passed: reached.has(from) && reached.has(to) }))
    .sort((a, b) => a.passed - b.passed)
    .map(({ from, to, passed }) => svg("path", {
      d: path(from, to), class: passed ? "passed" : null, "marker-end": `url(#${passed ? "arrow-passed" : "arrow"})`,
    }));
  const nodes = Object.keys(PLACES).map((state) => {
    const [x, y] = [left(state), top(state)];
    const kind = state === now ? "now" : reached.has(state) ? "passed" : "ahead";
    const place = { x, y, width: SIZE.width, height: SIZE.height, rx: 10 };
    const at = reached.get(state);
    const before = STEPS.filter(([, to]) => to === state).map(([from]) => reached.get(from)).find(Number.isFinite);
    const when = at === undefined ? null : before === undefined ? time(at) : `+${lapse(at - before)}`;
    return svg("g", { class: kind, "data-state": state },
      svg("rect", { ...place, class: "halo" }),
      svg("rect", place),
      svg("text", { x: x + SIZE.width / 2, y: y + (when ? 22 : 30) }, label(state)),
      when && svg("text", { x: x + SIZE.width / 2, y: y + 39, class: "when" }, when));
  });
  const through = Object.keys(PLACES).filter((state) => reached.has(state)).map(label).join(", ");
  const said = now ? `State diagram: the order is ${label(now)}. It went through ${through}.`
    : "State diagram of an order: Created, then In stock or Out of stock, then Cleared, then Shipped or Uncleared, then Delivered.";
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": said, "data-now": now ?? "" },
    svg("defs", {}, arrow("arrow"), arrow("arrow-passed")), lines, nodes);
}
