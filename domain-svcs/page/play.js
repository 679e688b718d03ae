// The buttons that play the scenario, and how far it is.

import { by, h, lapse, say } from "./dom.js";
import { Round } from "./scenario.js";

/** The rest between two steps, for those who want to watch. */
const REST = 1_200;
const WORDS = { waiting: "to come", playing: "playing", done: "done", failed: "failed" };

export class Play {
  #shop;
  #health;
  #choose;
  #round;
  #at = 0;
  #playing = false;
  #stopped = false;
  #steps = [];
  #buttons = { all: by("play-all"), next: by("play-next"), again: by("play-again") };

  constructor(shop, health, choose) {
    [this.#shop, this.#health, this.#choose] = [shop, health, choose];
    this.#steps = Round.steps.map(([title, inside], at) => {
      const parts = {
        mark: h("span", { class: "mark", "aria-hidden": "true" }, String(at + 1)),
        said: h("span", { class: "sr" }), took: h("span", { class: "took" }),
      };
      const item = h("li", { class: "step" }, parts.mark,
        h("span", { class: "title" }, title, parts.said), parts.took, h("span", { class: "inside" }, inside));
      return { item, ...parts };
    });
    by("steps").append(...this.#steps.map(({ item }) => item));
    by("play-progress").max = this.#steps.length;
    this.#buttons.all.addEventListener("click", () => (this.#playing ? this.#stop() : this.#all()));
    const may = (button) => button.getAttribute("aria-disabled") !== "true";
    this.#buttons.next.addEventListener("click", () => may(this.#buttons.next) && this.#step());
    this.#buttons.again.addEventListener("click", () => may(this.#buttons.again) && this.#anew());
    this.#anew();
  }

  #anew() {
    this.#round = new Round(this.#shop, this.#choose);
    this.#at = 0;
    for (const at of this.#steps.keys()) this.#mark(at, "waiting", "");
    this.#said("Nothing played yet.");
    this.#show();
  }

  #stop() {
    this.#stopped = true;
    this.#show();
  }

  async #all() {
    if (this.#at === this.#steps.length) this.#anew();
    this.#stopped = false;
    while (this.#at < this.#steps.length && !this.#stopped) {
      if (!(await this.#step(true))) break;
      const last = this.#at === this.#steps.length;
      if (by("play-slowly").checked && !last && !this.#stopped) await new Promise((resolve) => setTimeout(resolve, REST));
    }
    this.#playing = false;
    this.#show();
  }

  /** Plays the next step; false if that failed. */
  async #step(more = false) {
    const at = this.#at;
    const [title, , play] = Round.steps[at];
    this.#playing = true;
    this.#mark(at, "playing", "");
    this.#said(`Step ${at + 1} of ${this.#steps.length}: ${title}.`);
    this.#show();
    const start = performance.now();
    let done = false;
    try {
      const came = await play(this.#round);
      this.#mark(at, "done", lapse((performance.now() - start) / 1000));
      this.#at += 1;
      const end = this.#at === this.#steps.length ? " That was all." : "";
      this.#said(`Step ${at + 1} of ${this.#steps.length}: ${came}.${end}`);
      done = true;
    } catch (error) {
      this.#mark(at, "failed", "");
      this.#said(`Step ${at + 1} failed: ${error.message}. ${this.#advice()}`, "failed");
    }
    this.#playing = more && done;
    this.#show();
    return done;
  }

  #advice() {
    const troubled = this.#health.troubled();
    const who = troubled.length ? `${troubled.join(", ")} ${troubled.length === 1 ? "is" : "are"} in trouble. ` : "";
    return `${who}Try it again: what was done is not done twice.`;
  }

  #mark(at, state, took) {
    const step = this.#steps[at];
    step.item.dataset.state = state;
    say(step.mark, state === "done" ? "✓" : state === "failed" ? "!" : String(at + 1));
    say(step.said, ` (${WORDS[state]})`);
    say(step.took, took);
  }

  #said(text, state = "") {
    say(by("play-said"), text);
    by("play-said").dataset.state = state;
  }

  #show() {
    const { all, next, again } = this.#buttons;
    const [begun, ended] = [this.#at > 0, this.#at === this.#steps.length];
    const failed = this.#steps[this.#at]?.item.dataset.state === "failed";
    by("play-progress").value = this.#at;
    say(all, this.#playing ? (this.#stopped ? "Stopping…" : "Stop") : ended ? "Play it again" : failed ? "Go on" : begun ? "Play the rest" : "Play it all");
    say(next, failed ? "Try again" : "Next step");
    // Not `disabled`, which would throw the keyboard out of the button that it just pressed.
    next.setAttribute("aria-disabled", String(this.#playing || ended));
    again.setAttribute("aria-disabled", String(this.#playing || !begun));
    for (const [at, { item }] of this.#steps.entries()) item.toggleAttribute("data-current", at === Math.min(this.#at, this.#steps.length - 1));
  }
}
