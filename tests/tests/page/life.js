// Checks of an order's life, of the scenario's buttons and of the tables.

import assert from "node:assert/strict";
import { carts, create, get, put } from "./host.js";

const lit = (page, state) => page.locator(`#diagram g.now[data-state=${state}]`);

/** Writes down which states were lit, as they are. */
const watchLit = (page) => page.evaluate(() => {
  globalThis.lit = [];
  const look = () => {
    const now = document.querySelector("#diagram svg").dataset.now;
    if (now && globalThis.lit.at(-1) !== now) globalThis.lit.push(now);
  };
  new MutationObserver(look).observe(document.getElementById("diagram"), { childList: true });
});

async function walks({ page, picture }) {
  const [cart] = await carts(3, "Walter");
  await watchLit(page);
  const order = await create("order", { cart_id: cart });
  await lit(page, "IN_STOCK").waitFor();
  await page.getByText(/^Order .{8} of Walter · 1 product · 7 € · In stock$/).waitFor();
  const fill = (state) => page.locator(`#diagram g[data-state=${state}] rect`).last().evaluate((rect) => getComputedStyle(rect).fill);
  const [now, passed, ahead] = [await fill("IN_STOCK"), await fill("CREATED"), await fill("SHIPPED")];
  assert.equal(new Set([now, passed, ahead]).size, 3, `${now}, ${passed}, ${ahead}`);
  await create("billing", { order_id: order, amount: 7 });
  await lit(page, "SHIPPED").waitFor();
  const shipping = (await get("/shippings")).find(({ order_id }) => order_id === order);
  await put(`/shipping/${shipping.entity_id}`, { delivered: 1_790_000_000 });
  await lit(page, "DELIVERED").waitFor();
  const states = await page.evaluate(() => globalThis.lit);
  const expected = ["CREATED", "IN_STOCK", "CLEARED", "SHIPPED", "DELIVERED"].filter((state) => states.includes(state));
  assert.deepEqual(states, expected, "states are lit in their order");
  assert.ok(["IN_STOCK", "SHIPPED", "DELIVERED"].every((state) => states.includes(state)), states.join());
  const drawing = page.getByRole("img", { name: "the order is Delivered. It went through Created, In stock, Cleared, Shipped, Delivered" });
  await drawing.waitFor();
  const story = await page.locator("#story strong").allTextContents();
  for (const happened of ["Order created", "Stock reserved", "Billing created", "Shipping created", "Shipping updated"]) {
    assert.ok(story.includes(happened), `${happened} in ${story}`);
  }
  const times = await page.locator("#story time").allTextContents();
  assert.deepEqual(times, [...times].sort());
  await picture("life");
}

async function outOfStock({ page }) {
  const [first, second] = await carts(1, "Frida", "Oskar");
  await create("order", { cart_id: first });
  await lit(page, "IN_STOCK").waitFor();
  const order = await create("order", { cart_id: second });
  await lit(page, "OUT_OF_STOCK").waitFor();
  await page.locator("#story").getByText("Stock refused").waitFor();
  await page.getByRole("tab", { name: /^Orders/ }).click();
  // Any order can be looked at, from the table and from the list.
  const delivered = page.locator("#table tr", { hasText: "Walter" });
  await delivered.getByText("Delivered").waitFor();
  await delivered.getByRole("button").click();
  await lit(page, "DELIVERED").waitFor();
  await page.getByLabel("Order", { exact: true }).selectOption(order);
  await lit(page, "OUT_OF_STOCK").waitFor();
  await page.getByLabel("Order", { exact: true }).selectOption("the newest");
}

/** What a page that comes later draws of it is the same. */
async function later({ browser }) {
  const page = await browser.open();
  const delivered = page.locator("#table tr", { hasText: "Walter" });
  await delivered.getByRole("button").click();
  await lit(page, "DELIVERED").waitFor();
  await page.locator("#story > li").nth(5).waitFor();
  assert.ok((await page.locator("#story > li").count()) >= 8);
  await page.context().close();
}

async function scenario({ page, picture }) {
  const begun = performance.now();
  await page.getByLabel("slowly, to watch").uncheck();
  await page.getByRole("button", { name: "Play it all" }).click();
  await page.getByText("That was all.").waitFor({ timeout: 60_000 }).catch(async (error) => {
    throw new Error(`${await page.locator("#play-said").textContent()}: ${error}`);
  });
  const took = performance.now() - begun;
  assert.equal(await page.locator(".step[data-state=done]").count(), 11);
  await lit(page, "OUT_OF_STOCK").waitFor();
  const paid = page.locator("#life-order option", { hasText: "Ada Novak" }).last();
  await page.getByLabel("Order", { exact: true }).selectOption(await paid.getAttribute("value"));
  await lit(page, "DELIVERED").waitFor();
  await page.getByRole("button", { name: "Start over" }).click();
  await page.getByText("Nothing played yet.").waitFor();
  await picture("desktop-light");
  return `played in ${Math.round(took)} ms`;
}

async function stepFails({ browser, page }) {
  browser.expected = /status of 400/;
  // What cannot be done is said in words, and can be tried again.
  await page.route("**/product", (route) => route.fulfill({ status: 400, json: { error: "price: must be a whole number" } }), { times: 10 });
  await page.getByRole("button", { name: "Next step" }).click();
  await page.getByText("Step 1 failed: POST /product: price: must be a whole number").waitFor();
  await page.unroute("**/product");
  browser.expected = null;
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByText("Step 1 of 11: ten products.").waitFor();
  await page.getByRole("button", { name: "Start over" }).click();
}

async function sorts({ page }) {
  await page.getByRole("tab", { name: /^Customers/ }).click();
  const names = () => page.locator("#table tbody td:first-child").allTextContents();
  const head = page.getByRole("columnheader", { name: "Name" });
  const button = head.getByRole("button");
  const collator = (a, b) => a.localeCompare(b, "en", { numeric: true });
  await button.click();
  assert.equal(await head.getAttribute("aria-sort"), "ascending");
  await page.waitForFunction(() => document.querySelector("#table tbody td").textContent.startsWith("<img"));
  assert.deepEqual(await names(), (await names()).sort(collator));
  await button.click();
  assert.equal(await head.getAttribute("aria-sort"), "descending");
  await page.waitForFunction(() => document.querySelector("#table tbody td").textContent.startsWith("W"));
  assert.deepEqual(await names(), (await names()).sort(collator).reverse());
}

async function redrawsOneRow({ page }) {
  const [first, second] = (await get("/customers")).filter(({ name }) => ["Walter", "Oskar"].includes(name));
  await page.evaluate(() => document.querySelectorAll("#table tbody tr").forEach((row) => (row.known = true)));
  await put(`/customer/${first.entity_id}`, { email: "new@example.com" });
  const row = (id) => page.locator(`#table tr[data-id="${id}"]`);
  await row(first.entity_id).getByText("new@example.com").waitFor();
  const known = (id) => row(id).evaluate((line) => line.known === true);
  assert.equal(await known(first.entity_id), false);
  assert.equal(await known(second.entity_id), true, "a row that did not change was drawn anew");
}

export const life = [
  ["an order walks through its states", walks],
  ["an order that cannot be served", outOfStock],
  ["who comes later sees the same story", later],
  ["the scenario plays", scenario],
  ["a step that fails says why", stepFails],
  ["tables sort", sorts],
  ["a change redraws its row only", redrawsOneRow],
];
