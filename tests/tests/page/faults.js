// Checks of what the page tells when something dies: a service, a front service, the gateway itself.

import assert from "node:assert/strict";
import { create, get, kill9, send, start } from "./host.js";

const light = (page, name) => page.locator(`#services li[data-name="${name}"]`);
const is = (page, name, state) => page.locator(`#services li[data-name="${name}"][data-state=${state}]`).waitFor();
const listed = (page, text) => page.locator("#events .event", { hasText: text });

/** The cell of a table under a heading. */
async function cell(page, table, row, head) {
  const heads = await page.locator(`#${table} thead th`).allTextContents();
  return page.locator(`#${table} tr[data-id="${row}"] > *`).nth(heads.indexOf(head));
}

async function services({ page, picture }) {
  for (const name of ["mail-service", "crm-service"]) await is(page, name, "up");
  await kill9("mail-service");
  const begun = performance.now();
  await is(page, "mail-service", "down");
  const took = Math.round(performance.now() - begun);
  assert.match(await light(page, "mail-service").textContent(), /Down.*does not answer/);
  await page.locator("#figures").getByText("12 of 13 up").waitFor();

  await create("customer", { name: "Mail Less", email: "less@example.com" });
  const ready = await cell(page, "queues", "mail-service", "Ready");
  await ready.getByText("1", { exact: true }).waitFor();
  await kill9("crm-service");
  await create("customer", { name: "Crm Less", email: "less@example.com" });
  const lag = await cell(page, "groups", "crm-service customer", "Lag");
  await lag.getByText("1", { exact: true }).waitFor();
  await is(page, "crm-service", "down");
  await picture("down");
  for (const name of ["mail-service", "crm-service"]) {
    await start(name);
    await is(page, name, "up");
  }
  await ready.getByText("0", { exact: true }).waitFor();
  await lag.getByText("0", { exact: true }).waitFor();
  await page.locator("#figures").getByText("13 of 13 up").waitFor();
  return `a light turned ${took} ms after kill -9`;
}

async function eventStore({ page }) {
  await kill9("event-store-svc");
  await is(page, "event-store-svc", "down");
  await page.getByText("Groups as last seen: event-store-svc is away.").waitFor();
  await start("event-store-svc");
  await is(page, "event-store-svc", "up");
  await page.getByText("Looked at once a second.").waitFor();
  await create("customer", { name: "After The Store", email: "after@example.com" });
  await listed(page, "After The Store, after@example.com").waitFor();
}

async function gateway({ browser, page, picture }) {
  browser.expected = /WebSocket connection|ERR_CONNECTION_REFUSED|net::ERR/;
  await kill9("api-gateway");
  await page.locator("#connection[data-state=lost]").waitFor();
  await page.getByText("The connection to the gateway is lost.").waitFor();
  await is(page, "api-gateway", "down");
  await is(page, "cart-service", "unknown");
  await picture("reconnecting");
  // Meanwhile the shop goes on.
  for (const name of ["Meanwhile One", "Meanwhile Two"]) {
    await send("customer-service", "create_customers", [{ name, email: "meanwhile@example.com" }]);
  }
  await start("api-gateway");
  const begun = performance.now();
  await page.locator("#connection[data-state=live]").waitFor();
  const took = Math.round(performance.now() - begun);
  browser.expected = null;
  for (const name of ["Meanwhile One", "Meanwhile Two"]) {
    await listed(page, `${name}, meanwhile@example.com`).waitFor();
    assert.equal(await listed(page, `${name}, meanwhile@example.com`).count(), 1, `${name} is there twice`);
  }
  await page.getByText(/^Connected again after \d+ s\. .* that happened meanwhile were added\.$/).waitFor();
  await is(page, "api-gateway", "up");
  await is(page, "cart-service", "up");
  await create("customer", { name: "Ever After", email: "after@example.com" });
  await listed(page, "Ever After").waitFor();
  const customers = (await get("/customers")).length;
  await page.getByRole("tab", { name: /^Customers/ }).filter({ hasText: String(customers) }).waitFor();
  return `live again ${took} ms after the gateway was ready`;
}

export const faults = [
  ["a killed service turns its light; what waits for it is shown", services],
  ["the event store killed and started again", eventStore],
  ["the gateway killed and started again: nothing missed, nothing twice", gateway],
];
