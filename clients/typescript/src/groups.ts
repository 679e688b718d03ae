// Consumer groups: take events, ack what is done, nack what failed, and stop without losing any.

import * as channel from "./channel.js";
import { failureOf, isServiceError, isTransient, nameOf, say } from "./channel.js";
import type { Event } from "./stubs/eventstore/v1/event.js";
import {
  ConsumeOpen,
  type ConsumeRequest,
  type ConsumeResponse,
  ConsumerGroupsClient,
  CreateGroupRequest,
  type Delivery,
  NackAction,
} from "./stubs/eventstore/v1/consumer_groups.js";

/** An event that will never be handled. */
class Refused extends Error {}

/** What a consumer is for. Here: two types fail, so that one sees what happens then. */
async function handle(event: Event, deliveryCount: number): Promise<void> {
  if (event.type === "poison") throw new Refused("it is of a type that nobody can handle");
  if (event.type === "flaky" && deliveryCount === 1) throw new Error("it fails the first time");
}

/**
 * The events that were handled last. An event whose ack was lost is delivered again: a handler has
 * to recognise it. One that writes to a database keeps the ids there, in the same transaction.
 */
class Handled {
  static readonly LIMIT = 10_000;
  readonly #sequences = new Set<number>();

  has(sequence: number): boolean {
    return this.#sequences.has(sequence);
  }

  add(sequence: number): void {
    this.#sequences.add(sequence);
    if (this.#sequences.size <= Handled.LIMIT) return;
    const [oldest] = this.#sequences;
    this.#sequences.delete(oldest!);
  }
}

/** Handles the events of a group until it is told to stop. */
export async function consume(
  topic: string,
  group: string,
  consumer: string,
  stop: AbortSignal,
): Promise<void> {
  const { EVENT_STORE, CREDENTIALS, OPTIONS } = channel;
  const groups = new ConsumerGroupsClient(EVENT_STORE, CREDENTIALS, OPTIONS);
  // One that exists already, with the same settings, is a success.
  const create = CreateGroupRequest.fromPartial({ topic, group });
  await channel.retrying(group, () => channel.unary(groups.createGroup.bind(groups), create));
  const open = ConsumeOpen.fromPartial({ topic, group, consumer, maxInFlight: 16 });
  const handled = new Handled();
  const waits = new channel.Pauses();
  while (!stop.aborted) {
    try {
      await workOff(groups, open, handled, waits, stop);
    } catch (error) {
      if (!isServiceError(error)) throw error;
      const failure = failureOf(error);
      if (!isTransient(failure)) throw error;
      // What was not acked comes again, here or at another member of the group.
      say({ resuming: group, reason: nameOf(failure) });
    }
    await waits.wait(stop);
  }
  groups.close();
  say({ stopped: true });
}

/** Handles what comes; ends with the stream. */
async function workOff(
  groups: ConsumerGroupsClient,
  open: ConsumeOpen,
  handled: Handled,
  waits: channel.Pauses,
  stop: AbortSignal,
): Promise<void> {
  const stream = groups.consume();
  stream.write({ message: { $case: "open", value: open } });
  // Half-closing ends the deliveries. Outcomes still come, then the stream ends, and what was
  // delivered but not begun goes to others at once.
  let handling: Promise<void> = Promise.resolve();
  const close = () => void handling.then(() => stream.end(), () => stream.end());
  stop.addEventListener("abort", close, { once: true });
  try {
    for await (const { message } of stream as AsyncIterable<ConsumeResponse>) {
      waits.reset();
      switch (message?.$case) {
        case "delivery":
          if (stop.aborted) break;
          handling = settle(message.value, handled).then((request) => void stream.write(request));
          await handling;
          break;
        case "outcome":
          if (message.value.error !== undefined) {
            // Its lease went to somebody else, who handles it now.
            say({ refused: message.value.receipt, message: message.value.error.message });
          }
          break;
      }
    }
  } finally {
    stop.removeEventListener("abort", close);
  }
}

/** Handles an event, and answers what the service is to be told of it. */
async function settle(delivery: Delivery, handled: Handled): Promise<ConsumeRequest> {
  const { event, sequence } = delivery.event!;
  const receipts = [delivery.receipt];
  const text = event?.data?.$case === "textData" ? event.data.value : "";
  const facts = { text, sequence, delivery_count: delivery.deliveryCount };
  const ack: ConsumeRequest = { message: { $case: "ack", value: { receipts } } };
  if (handled.has(sequence)) {
    say({ repeated: event!.id, ...facts });
    return ack;
  }
  try {
    await handle(event!, delivery.deliveryCount);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    if (error instanceof Refused) {
      say({ parked: event!.id, ...facts });
      const action = NackAction.NACK_ACTION_PARK;
      return { message: { $case: "nack", value: { receipts, action, delay: undefined, reason } } };
    }
    say({ nacked: event!.id, ...facts });
    const action = NackAction.NACK_ACTION_RETRY;
    // Without a delay it would come again after the group's backoff.
    const delay = { seconds: 0, nanos: 100_000_000 };
    return { message: { $case: "nack", value: { receipts, action, delay, reason } } };
  }
  handled.add(sequence);
  say({ handled: event!.id, ...facts });
  return ack;
}
