// The state diagram of an order: what it went through, where it is, where it may go.

import { lapse, svg, time } from "./dom.js";
import { label } from "./words.js";

const SIZE = { width: 136, height: 50 };
/** Where each state stands, in columns and rows; beside each other where there is room, else below each other. */
const WIDE = {
  CREATED: [0, 0], IN_STOCK: [1, 0], CLEARED: [2, 0], SHIPPED: [3, 0], DELIVERED: [4, 0],
  OUT_OF_STOCK: [1, 1], UNCLEARED: [3, 1],
};
const TALL = {
  CREATED: [0, 0], IN_STOCK: [0, 1], CLEARED: [0, 2], SHIPPED: [0, 3], DELIVERED: [0, 4],
  OUT_OF_STOCK: [1, 1], UNCLEARED: [1, 3],
};
const STEPS = [
  ["CREATED", "IN_STOCK"], ["CREATED", "OUT_OF_STOCK"], ["IN_STOCK", "CLEARED"],
  ["CLEARED", "SHIPPED"], ["CLEARED", "UNCLEARED"], ["SHIPPED", "DELIVERED"],
];

/** Draws it. `reached` tells when each state was reached, in seconds; `now` is the state it is in, if any. */
export function diagram(reached, now, wide) {
  const places = wide ? WIDE : TALL;
  const gap = wide ? { x: 48, y: 40 } : { x: 40, y: 34 };
  const left = (state) => 4 + places[state][0] * (SIZE.width + gap.x);
  const top = (state) => 4 + places[state][1] * (SIZE.height + gap.y);
  const [columns, rows] = wide ? [5, 2] : [2, 5];
  const width = 8 + columns * SIZE.width + (columns - 1) * gap.x;
  const height = 8 + rows * SIZE.height + (rows - 1) * gap.y;

  const path = (from, to) => {
    const [x1, y1, x2, y2] = [left(from), top(from), left(to), top(to)];
    const across = y1 === y2 || (!wide && x1 !== x2);
    const straight = x1 === x2 || y1 === y2;
    const [middleX, middleY] = [SIZE.width / 2, SIZE.height / 2];
    if (straight && across) return `M${x1 + SIZE.width} ${y1 + middleY}H${x2 - 7}`;
    if (straight) return `M${x1 + middleX} ${y1 + SIZE.height}V${y2 - 7}`;
    // A branch leaves at the side that looks to it, and bends once.
    if (wide) {
      const x = x1 + SIZE.width + gap.x / 2;
      return `M${x1 + SIZE.width} ${y1 + middleY}H${x - 8}Q${x} ${y1 + middleY} ${x} ${y1 + middleY + 8}` +
        `V${y2 + middleY - 8}Q${x} ${y2 + middleY} ${x + 8} ${y2 + middleY}H${x2 - 7}`;
    }
    const y = y1 + SIZE.height + gap.y / 2;
    return `M${x1 + middleX} ${y1 + SIZE.height}V${y - 8}Q${x1 + middleX} ${y} ${x1 + middleX + 8} ${y}` +
      `H${x2 + middleX - 8}Q${x2 + middleX} ${y} ${x2 + middleX} ${y + 8}V${y2 - 7}`;
  };
  const arrow = (id) => svg("marker", {
    id, viewBox: "0 0 8 8", refX: 2, refY: 4, markerWidth: 8, markerHeight: 8, orient: "auto", markerUnits: "userSpaceOnUse",
  }, svg("path", { d: "M0 0L8 4L0 8z" }));

  const lines = STEPS
    .map(([from, to]) => ({ from, to, passed: reached.has(from) && reached.has(to) }))
    .sort((a, b) => a.passed - b.passed)
    .map(({ from, to, passed }) => svg("path", {
      d: path(from, to), class: passed ? "passed" : null, "marker-end": `url(#${passed ? "arrow-passed" : "arrow"})`,
    }));
  const nodes = Object.keys(places).map((state) => {
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
  const through = Object.keys(places).filter((state) => reached.has(state)).map(label).join(", ");
  const said = now ? `State diagram: the order is ${label(now)}. It went through ${through}.`
    : "State diagram of an order: Created, then In stock or Out of stock, then Cleared, then Shipped or Uncleared, then Delivered.";
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": said, "data-now": now ?? "" },
    svg("defs", {}, arrow("arrow"), arrow("arrow-passed")), lines, nodes);
}
