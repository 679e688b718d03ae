// Runs all checks of the page, one after the other on one shop, and tells how each went.

import { mkdirSync } from "node:fs";
import { Browser, say } from "./host.js";
import { events } from "./events.js";
import { access } from "./access.js";
import { faults } from "./faults.js";
import { life } from "./life.js";

const folder = process.env.SCREENSHOTS;
mkdirSync(folder, { recursive: true });
const browser = await Browser.start();
await say(`Chromium ${browser.version}`);
const page = await browser.open();
const picture = async (name, of = page) => {
  // Or else what sticks to the top stands in the middle.
  await of.evaluate(() => scrollTo(0, 0));
  await of.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
};

let failed = 0;
for (const [name, check] of [...events, ...life, ...access, ...faults]) {
  const begun = performance.now();
  try {
    const figures = await check({ browser, page, picture });
    await say(`ok      ${name} (${Math.round(performance.now() - begun)} ms)${figures ? `: ${figures}` : ""}`);
  } catch (error) {
    failed += 1;
    await say(`FAILED  ${name}: ${error.stack}`);
    await picture(`failed-${failed}`).catch(() => {});
  }
}
if (browser.complaints.length > 0) {
  failed += 1;
  await say(`FAILED  the browser complained: ${browser.complaints.join("\n")}`);
}
await browser.close();
process.exit(failed === 0 ? 0 : 1);
