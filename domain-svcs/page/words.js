// What an event means, in words, and how far an order got.

import { euros, plural, short } from "./dom.js";

export const STATES = ["CREATED", "IN_STOCK", "OUT_OF_STOCK", "CLEARED", "UNCLEARED", "SHIPPED", "DELIVERED"];
export const LABELS = {
  CREATED: "Created", IN_STOCK: "In stock", OUT_OF_STOCK: "Out of stock", CLEARED: "Cleared",
  UNCLEARED: "Uncleared", SHIPPED: "Shipped", DELIVERED: "Delivered",
};
const LEVELS = { DELIVERED: "good", OUT_OF_STOCK: "bad", UNCLEARED: "bad" };
export const level = (status) => LEVELS[status] ?? (status === "CREATED" ? "plain" : "way");

export const label = (status) => LABELS[status] ?? String(status ?? "");

/** The words of a name such as `order_created`. */
export const spaced = (action) => String(action).replaceAll("_", " ").replace(/^./, (first) => first.toUpperCase());

const counted = (items) => Object.values(items ?? {}).reduce((sum, count) => sum + Number(count), 0);

/** What an event is about, in one line. The names come from `shop`, where it knows them. */
export function about(frame, shop) {
  const data = frame.data ?? {};
  const product = (id) => shop.get("product", id)?.name ?? `product ${short(id)}`;
  const customer = (id) => shop.get("customer", id)?.name ?? `customer ${short(id)}`;
  if (frame.action.startsWith("stock_")) {
    const pieces = plural(counted(data.items), "piece");
    const what = { stock_reserved: "set aside for", stock_refused: "not all there for", stock_released: "put back from" };
    return `${pieces} ${what[frame.action] ?? "of"} order ${short(data.order_id)}`;
  }
  switch (frame.topic) {
    case "customer": return `${data.name}, ${data.email}`;
    case "product": return `${data.name}, ${euros(data.price)}`;
    case "inventory": return `${plural(data.amount, "piece")} of ${product(data.product_id)}`;
    case "cart": return `${plural(data.product_ids?.length ?? 0, "product")} of ${customer(data.customer_id)}`;
    case "order": return `order ${short(data.entity_id)}: ${label(data.status)}`;
    case "billing": return `${euros(data.amount)} for order ${short(data.order_id)}`;
    case "shipping": return `order ${short(data.order_id)}: ${data.delivered ? "delivered" : "on its way"}`;
    case "mail": return `to ${data.to}: ${gist(data.msg)}`;
    default: return "";
  }
}

/** The line of a mail that says something: not the greeting, not the signature. */
export function gist(message) {
  const lines = String(message ?? "").split("\n").map((line) => line.trim()).filter(Boolean);
  return lines[1] ?? lines[0] ?? "";
}
