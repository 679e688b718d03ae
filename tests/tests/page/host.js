// What surrounds the checks: the test that started the shop and does to it what they ask for, the shop's REST API,
// and a browser whose complaints are collected.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const need = createRequire(`${process.env.PAGE_TOOLS}/package.json`);
const { chromium } = need("playwright-core");
const axe = need("axe-core");

export const url = process.env.GATEWAY_URL;
const waiting = new Map();
let asked = 0;

createInterface({ input: process.stdin }).on("line", (line) => {
  const { done } = JSON.parse(line);
  waiting.get(done)?.();
  waiting.delete(done);
});

/** Asks the test to do something to the shop, and waits until it is done. */
export function ask(order) {
  asked += 1;
  const id = asked;
  process.stdout.write(`${JSON.stringify({ ...order, id })}\n`);
  return new Promise((resolve) => waiting.set(id, resolve));
}

export const kill9 = (name) => ask({ do: "kill9", name });
export const start = (name) => ask({ do: "start", name });
/** A command straight to a service's queue, past the gateway. */
export const send = (name, type, body) => ask({ do: "send", name, type, body });
export const say = (text) => ask({ say: text });

async function rest(method, path, body) {
  const answer = await fetch(url + path, {
    method,
    headers: { "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
  const json = await answer.json();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${json.error}`);
  return json.result;
}
export const get = (path) => rest("GET", path);
export const put = (path, body) => rest("PUT", path, body);
/** Creates one entity and answers its id. */
export const create = async (kind, entity) => (await rest("POST", `/${kind}`, entity))[0];
/** Creates many, without waiting. */
export const createMany = (plural, entities) => rest("POST", `/${plural}`, entities);

/** A cart for each of these customers, with one piece of the same product, of which there are so many. */
export async function carts(pieces, ...names) {
  const product = await create("product", { name: `Product of ${names[0]}`, price: 7 });
  await create("inventory", { product_id: product, amount: pieces });
  const cart = async (name) => {
    const customer = await create("customer", { name, email: "somebody@example.com" });
    return create("cart", { customer_id: customer, product_ids: [product] });
  };
  return Promise.all(names.map(cart));
}

/** Chromium, and what its pages complained about. */
export class Browser {
  complaints = [];
  /** What a browser rightly complains about while a check brings it about. */
  expected = null;
  #chromium;

  static async start() {
    const browser = new Browser();
    browser.#chromium = await chromium.launch({
      executablePath: process.env.CHROMIUM_BIN,
      args: ["--no-sandbox", "--disable-dev-shm-usage"],
    });
    return browser;
  }

  get version() {
    return this.#chromium.version();
  }

  /** Opens the page and waits until it is live. */
  async open(options = {}, prepare = async () => {}) {
    const context = await this.#chromium.newContext({ viewport: { width: 1400, height: 1000 }, ...options });
    context.setDefaultTimeout(20_000);
    const page = await context.newPage();
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type()) && !this.expected?.test(message.text())) this.complaints.push(message.text());
    });
    page.on("pageerror", (error) => this.complaints.push(error.stack));
    await prepare(context);
    await page.goto(url);
    await page.locator("#connection[data-state=live]").waitFor();
    return page;
  }

  close() {
    return this.#chromium.close();
  }
}

/** Violations of WCAG 2.2 A and AA, and of good practice, as axe-core finds them. */
export async function violations(page) {
  // In Chromium's own way, which the page's content security policy does not forbid.
  await page.evaluate(axe.source);
  const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
  const found = await page.evaluate((values) => globalThis.axe.run({ runOnly: { type: "tag", values }, resultTypes: ["violations"] }), tags);
  return found.violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).join(" | ")}`);
}
