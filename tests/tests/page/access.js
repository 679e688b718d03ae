// Checks of who can use the page: on a phone, with the keyboard alone, in light and dark, with less motion, with help.

import assert from "node:assert/strict";
import { create, violations } from "./host.js";

const PHONE = { viewport: { width: 360, height: 780 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 };
const LOOKS = {
  "desktop-light": { colorScheme: "light" },
  "desktop-dark": { colorScheme: "dark" },
  "phone-light": { ...PHONE, colorScheme: "light" },
  "phone-dark": { ...PHONE, colorScheme: "dark" },
};

async function fits(page) {
  const [width, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(width <= room, `the page is ${width} px wide on ${room}`);
}

async function looks({ browser, picture }) {
  const grounds = new Set();
  const look = async ([name, options]) => {
    const page = await browser.open(options);
    await page.locator("#diagram g.now").waitFor();
    await page.locator("#services li").nth(12).waitFor();
    await page.locator("#groups tbody tr").first().waitFor();
    await page.locator("#events summary").first().click();
    await fits(page);
    assert.deepEqual(await violations(page), [], name);
    grounds.add(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
    for (const tab of await page.getByRole("tab").all()) {
      await tab.click();
      await fits(page);
    }
    await page.getByRole("tab", { name: /^Orders/ }).click();
    await picture(name, page);
    if (name === "phone-light") await narrow(page);
    await page.context().close();
  };
  await Promise.all(Object.entries(LOOKS).map(look));
  assert.equal(grounds.size, 2, "light and dark look alike");
}

/** As narrow as WCAG wants it (1.4.10), and with text twice as large as on a phone. */
async function narrow(page) {
  await page.setViewportSize({ width: 320, height: 640 });
  await page.waitForFunction(() => innerWidth === 320);
  await fits(page);
}

/** Where the focus is: what it is called, and whether that can be seen. */
const focused = (page) => page.evaluate(() => {
  const element = document.activeElement;
  const shown = element.matches(".chips input") ? element.nextElementSibling : element;
  const { outlineStyle, outlineWidth } = getComputedStyle(shown);
  const box = shown.getBoundingClientRect();
  return {
    name: element.id || element.getAttribute("value") || element.textContent.trim().slice(0, 40),
    visible: outlineStyle !== "none" && parseFloat(outlineWidth) >= 2,
    onScreen: box.width > 0 && box.bottom > 0 && box.top < innerHeight,
    body: element === document.body,
  };
});

async function keyboard({ browser }) {
  const page = await browser.open();
  await page.locator("#diagram g.now").waitFor();
  await page.keyboard.press("Tab");
  assert.equal((await focused(page)).name, "Skip to the shop");
  await page.keyboard.press("Enter");
  const reached = [];
  for (let pressed = 0; pressed < 400; pressed += 1) {
    await page.keyboard.press("Tab");
    const now = await focused(page);
    if (now.body) break;
    assert.ok(now.visible && now.onScreen, `the focus on ${now.name} cannot be seen`);
    reached.push(now.name);
  }
  for (const name of ["play-all", "play-next", "play-slowly", "life-order", "events-pause", "customer", "mail", "tab-order", "Price"]) {
    assert.ok(reached.includes(name), `${name} cannot be reached: ${reached}`);
  }
  // One stop for all tabs, and arrows between them.
  assert.equal(reached.filter((name) => name.startsWith("tab-")).length, 1);
  await page.locator("#tab-order").focus();
  await page.keyboard.press("ArrowRight");
  assert.equal((await focused(page)).name, "tab-customer");
  await page.keyboard.press("End");
  assert.equal((await focused(page)).name, "tab-mail");
  await page.getByRole("columnheader", { name: "Message" }).waitFor();
  // A step, a sort and a pause without a mouse; the focus stays where it was.
  await page.locator("#play-next").focus();
  await page.keyboard.press("Enter");
  await page.getByText("Step 1 of 11: ten products.").waitFor();
  assert.equal((await focused(page)).name, "play-next");
  await page.getByRole("button", { name: "Sent" }).focus();
  await page.keyboard.press("Space");
  assert.equal(await page.getByRole("columnheader", { name: "Sent" }).getAttribute("aria-sort"), "ascending");
  assert.match((await focused(page)).name, /^Sent/);
  await page.locator("#events-pause").focus();
  await page.keyboard.press("Space");
  await page.getByRole("button", { name: /^Resume/ }).waitFor();
  await page.context().close();
  return `${reached.length} stops`;
}

async function motion({ browser }) {
  for (const [reducedMotion, moves] of [["no-preference", true], ["reduce", false]]) {
    const page = await browser.open({ reducedMotion });
    await create("customer", { name: `Motion ${reducedMotion}`, email: "m@example.com" });
    const event = page.locator("#events .event", { hasText: `Motion ${reducedMotion}` });
    await event.waitFor();
    const animation = await event.locator("summary").evaluate((summary) => getComputedStyle(summary).animationName);
    assert.equal(animation !== "none", moves, `${reducedMotion}: ${animation}`);
    await page.context().close();
  }
}

export const access = [
  ["phone and desktop, light and dark, with nothing that axe-core minds", looks],
  ["the keyboard alone", keyboard],
  ["less motion where that is asked for", motion],
];
