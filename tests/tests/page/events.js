// Checks of the live events: that they appear, are text, can be filtered, paused and looked into, and stay bounded.

import assert from "node:assert/strict";
import { create, createMany, url } from "./host.js";

const listed = (page) => page.locator("#events > .event");

async function emptyShop({ page, picture }) {
  await page.getByText("Nothing has happened yet. Play the shop").waitFor();
  await page.getByText("No orders yet. Play the shop").waitFor();
  await page.getByText("There is no order yet. Play the shop").waitFor();
  assert.equal(await page.locator("#diagram svg[data-now='']").count(), 1);
  await picture("empty");
}

async function appear({ page }) {
  const begun = performance.now();
  await create("customer", { name: "Ann Early", email: "ann@example.com" });
  const answered = performance.now();
  const event = listed(page).filter({ hasText: "Ann Early, ann@example.com" });
  await event.first().waitFor();
  const seen = performance.now();
  assert.equal(await event.getAttribute("data-action"), "customer_created");
  await listed(page).filter({ hasText: "Mail sent" }).first().waitFor();
  const tab = page.getByRole("tab", { name: /^Customers/ });
  await tab.filter({ hasText: "1" }).waitFor();
  return `POST answered after ${Math.round(answered - begun)} ms, on the page after ${Math.round(seen - begun)} ms`;
}

async function staysText({ page }) {
  const evil = `<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>`;
  await create("customer", { name: evil, email: "evil@example.com" });
  await create("product", { name: evil, price: 1 });
  await listed(page).filter({ hasText: `${evil}, 1 €` }).first().waitFor();
  await page.getByRole("tab", { name: /^Customers/ }).click();
  await page.locator("#table td", { hasText: evil }).waitFor();
  const details = listed(page).filter({ hasText: `${evil}, evil@example.com` }).first();
  await details.locator("summary").click();
  await details.locator("pre", { hasText: "onerror" }).waitFor();
  const found = await page.evaluate(() => [globalThis.hacked, document.querySelectorAll("main img, main script").length]);
  assert.deepEqual(found, [undefined, 0]);
  await page.getByRole("tab", { name: /^Orders/ }).click();
}

async function filter({ page }) {
  await create("customer", { name: "Fil Ter", email: "fil@example.com" });
  await listed(page).filter({ hasText: "Fil Ter" }).first().waitFor();
  for (const topic of await page.locator("#events-filter input").all()) await topic.setChecked(false);
  await page.getByText("No topic is chosen.").waitFor();
  assert.equal(await listed(page).count(), 0);
  await page.getByLabel("product", { exact: true }).check();
  await listed(page).first().waitFor();
  const topics = await listed(page).evaluateAll((items) => items.map((item) => item.dataset.topic));
  assert.deepEqual([...new Set(topics)], ["product"]);
  for (const topic of await page.locator("#events-filter input").all()) await topic.setChecked(true);
  await listed(page).filter({ hasText: "Fil Ter" }).first().waitFor();
}

async function pause({ page }) {
  await page.getByRole("button", { name: "Pause" }).click();
  const before = await listed(page).allTextContents();
  for (const name of ["Held One", "Held Two", "Held Three"]) await create("product", { name, price: 3 });
  const resume = page.getByRole("button", { name: "Resume (3 held back)" });
  await resume.waitFor();
  assert.equal(await resume.getAttribute("aria-pressed"), "true");
  assert.deepEqual(await listed(page).allTextContents(), before, "the list moved while it was paused");
  // The tables do not wait.
  await page.getByRole("tab", { name: /^Products/ }).filter({ hasText: "4" }).waitFor();
  await resume.click();
  for (const name of ["Held One", "Held Two", "Held Three"]) {
    const event = listed(page).filter({ hasText: name });
    await event.first().waitFor();
    assert.equal(await event.count(), 1, name);
  }
  await page.getByRole("button", { name: "Pause" }).waitFor();
}

async function details({ page }) {
  const event = listed(page).filter({ hasText: "Held Two" });
  assert.equal(await event.locator("pre").count(), 0, "details are there before they are asked for");
  await event.locator("summary").focus();
  await page.keyboard.press("Enter");
  const shown = JSON.parse(await event.locator("pre").textContent());
  assert.equal(shown.action, "product_created");
  assert.equal(shown.data.name, "Held Two");
  assert.ok(shown.sequence > 0 && /^\d+-\d+$/.test(shown.position) && shown.ts > 0, JSON.stringify(shown));
  await page.keyboard.press("Enter");
  assert.equal(await event.locator("pre").isVisible(), false);
}

async function noGapNoDouble({ browser }) {
  const drop = { topic: null };
  const page = await browser.open({}, (context) =>
    context.routeWebSocket(/\/ws/, (socket) => {
      const gateway = socket.connectToServer();
      gateway.onMessage((text) => {
        const { topic } = JSON.parse(text);
        if (topic && topic === drop.topic) return;
        socket.send(text);
        if (topic) socket.send(text);
      });
    }));
  const names = ["Gap One", "Gap Two", "Gap Three", "Gap Four"];
  const put = (name) => create("product", { name, price: 4 });
  await put(names[0]);
  await listed(page).filter({ hasText: names[0] }).waitFor();
  drop.topic = "product";
  await put(names[1]);
  drop.topic = null;
  // The next one shows the hole.
  await put(names[2]);
  await listed(page).filter({ hasText: names[1] }).waitFor();
  drop.topic = "product";
  // Nothing more comes that would show it: how far the topic is does.
  await put(names[3]);
  await listed(page).filter({ hasText: names[3] }).waitFor();
  const seen = await listed(page).evaluateAll((items) => items.map((item) => item.querySelector(".about").textContent));
  const order = seen.filter((text) => text.startsWith("Gap")).map((text) => text.split(",")[0]);
  assert.deepEqual(order, [...names].reverse(), "each once, in order");
  await page.context().close();
}

async function bounded({ page }) {
  const many = Array.from({ length: 600 }, (_, i) => ({ name: `Bulk ${i}`, price: 5 }));
  const begun = performance.now();
  await createMany("products", many);
  await listed(page).filter({ hasText: "Bulk 599," }).waitFor();
  const took = Math.round(performance.now() - begun);
  await page.getByText("Listed: the newest 500.").waitFor();
  await page.getByRole("tab", { name: /^Products/ }).click();
  await page.getByText("150 of 608 products are shown").waitFor();
  assert.ok((await listed(page).count()) <= 200);
  assert.ok((await page.locator("#table tbody tr").count()) <= 150);
  return `600 events drawn after ${took} ms`;
}

async function socket({ page }) {
  const frames = page.evaluate(() => new Promise((resolve) => {
    const seen = [];
    const plain = new WebSocket("/ws");
    plain.addEventListener("message", ({ data }) => {
      seen.push(JSON.parse(data));
      if (seen.at(-1).action === "product_created") resolve(seen);
    });
    plain.addEventListener("open", () => {
      fetch("/product", { method: "POST", headers: { "content-type": "application/json" }, body: `{"name":"Plain","price":1}` });
    });
  }));
  const [first, ...others] = await frames;
  assert.deepEqual([first.action, first.data.name, others.length], ["product_created", "Plain", 0], "who does not ask gets events only");
}

async function headers() {
  const answer = await fetch(url);
  assert.match(answer.headers.get("content-security-policy"), /default-src 'none'; script-src 'self'/);
  assert.equal(answer.headers.get("x-content-type-options"), "nosniff");
  const html = await answer.text();
  const again = await fetch(url, { headers: { "if-none-match": answer.headers.get("etag") } });
  assert.equal(again.status, 304);
  const paths = Array.from(html.matchAll(/(?:href|src)="(\/[^"]+)"/g), ([, path]) => path);
  assert.ok(paths.includes("/docs") && paths.includes("/openapi.json"), paths.join());
  for (const path of paths) {
    const file = await fetch(url + path);
    assert.equal(file.status, 200, path);
    if (path.startsWith("/page/")) assert.equal(file.headers.get("x-content-type-options"), "nosniff", path);
  }
}

export const events = [
  ["an empty shop says what to do", emptyShop],
  ["events appear", appear],
  ["names stay text", staysText],
  ["filter by topic", filter],
  ["pause and resume", pause],
  ["details on demand", details],
  ["no gap and no double, whatever the socket loses or repeats", noGapNoDouble],
  ["memory is bounded", bounded],
  ["the socket of others has events only", socket],
  ["headers", headers],
];
