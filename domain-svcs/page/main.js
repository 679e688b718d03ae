// Puts the page together: what the gateway tells goes to the parts that show it.

import { by, plural, say } from "./dom.js";
import { Events } from "./events.js";
import { Feed } from "./feed.js";
import { Health } from "./health.js";
import { OrderLife } from "./order.js";
import { Play } from "./play.js";
import { Shop } from "./shop.js";
import { Tables } from "./tables.js";

const feed = new Feed();
const shop = new Shop();
const health = new Health();
const events = new Events(shop);
const life = new OrderLife(shop);
new Tables(shop, (id) => life.show(id));
new Play(shop, health, (id) => life.choose(id));

feed.addEventListener("status", ({ detail }) => health.heard(detail));
feed.addEventListener("start", ({ detail }) => shop.load(detail.topic, detail.position));
feed.addEventListener("event", ({ detail: { frame, how } }) => {
  if (how !== "earlier") {
    shop.apply(frame);
    life.add(frame);
  }
  events.add(frame, how);
});
feed.addEventListener("skipped", ({ detail }) => {
  events.note(detail.topic, detail.count);
  shop.load(detail.topic, detail.position);
});
feed.addEventListener("anew", () => {
  shop.clear();
  events.clear();
  life.clear();
});

let lostAt = 0;
let countdown = 0;
feed.addEventListener("connection", ({ detail }) => {
  clearInterval(countdown);
  by("connection").dataset.state = detail.state;
  if (detail.state === "live") {
    say(by("connection-text"), "Live");
    by("banner").hidden = true;
    return;
  }
  lostAt ||= Date.now();
  health.lost();
  say(by("connection-text"), "Not connected");
  by("banner").hidden = false;
  by("banner-retry").hidden = false;
  const due = Date.now() + detail.wait;
  const tell = () => {
    const left = Math.ceil((due - Date.now()) / 1000);
    const again = left > 0 ? `Trying again in ${left} s.` : "Trying again now.";
    say(by("banner-text"), `The connection to the gateway is lost. ${again} What happens meanwhile is fetched then.`);
  };
  tell();
  countdown = setInterval(tell, 1000);
});
feed.addEventListener("caughtUp", ({ detail: missed }) => {
  if (!lostAt) return;
  const away = Math.round((Date.now() - lostAt) / 1000);
  lostAt = 0;
  const what = missed === 0 ? "Nothing happened meanwhile." : `${plural(missed, "event")} that happened meanwhile ${missed === 1 ? "was" : "were"} added.`;
  by("banner").hidden = false;
  by("banner-retry").hidden = true;
  say(by("banner-text"), `Connected again after ${away} s. ${what}`);
  setTimeout(() => lostAt || (by("banner").hidden = true), 8000);
});
by("banner-retry").addEventListener("click", () => feed.now());

feed.open();
