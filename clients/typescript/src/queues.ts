// The message queue: a worker that answers calls, and a caller with a deadline.

import { status } from "@grpc/grpc-js";
import * as channel from "./channel.js";
import { failureOf, isServiceError, isTransient, nameOf, say } from "./channel.js";
import { type Delivery, type Message, ReplyContent } from "./stubs/messagequeue/v1/message.js";
import {
  CallRequest,
  ConsumeOpen,
  type ConsumeRequest,
  type ConsumeResponse,
  MessageQueueClient,
} from "./stubs/messagequeue/v1/message_queue.js";

/** What a reply is refused with when nothing is left to do: answered already, or somebody else's. */
const SETTLED = ["ALREADY_REPLIED", "LEASE_LOST", "NO_REPLY_EXPECTED"];

function connect(): MessageQueueClient {
  return new MessageQueueClient(channel.MESSAGE_QUEUE, channel.CREDENTIALS, channel.OPTIONS);
}

/** What the worker is for: it adds numbers. What it can't do, it says to the caller. */
function handle(message: Message): ReplyContent {
  try {
    if (message.type !== "add") throw new Error(`there is nothing to do for ${message.type}`);
    const numbers: unknown = JSON.parse(message.body?.$case === "textBody" ? message.body.value : "");
    if (!Array.isArray(numbers) || !numbers.every((one) => typeof one === "number")) {
      throw new Error("that is no array of numbers");
    }
    const sum = numbers.reduce((a, b) => a + b, 0);
    const body = { $case: "textBody" as const, value: JSON.stringify(sum) };
    return { result: { $case: "body", value: { contentType: "application/json", body } } };
  } catch (error) {
    const refusal = { code: status.INVALID_ARGUMENT, message: (error as Error).message, details: [] };
    return { result: { $case: "error", value: refusal } };
  }
}

/** Works off a queue until it is told to stop. */
export async function work(queue: string, stop: AbortSignal): Promise<void> {
  const client = connect();
  const waits = new channel.Pauses();
  while (!stop.aborted) {
    try {
      await workOff(client, queue, waits, stop);
    } catch (error) {
      if (!isServiceError(error)) throw error;
      const failure = failureOf(error);
      if (!isTransient(failure)) throw error;
      say({ resuming: queue, reason: nameOf(failure) });
    }
    await waits.wait(stop);
  }
  client.close();
  say({ stopped: true });
}

/** Answers what comes; ends with the stream. */
async function workOff(
  client: MessageQueueClient,
  queue: string,
  waits: channel.Pauses,
  stop: AbortSignal,
): Promise<void> {
  const stream = client.consume();
  const open = ConsumeOpen.fromPartial({ queue, maxInFlight: 16 });
  stream.write({ message: { $case: "open", value: open } });
  // Half-closing ends the deliveries; what was delivered but not begun goes to others at once.
  let handling: Promise<void> = Promise.resolve();
  const close = () => void handling.then(() => stream.end(), () => stream.end());
  stop.addEventListener("abort", close, { once: true });
  try {
    for await (const { message } of stream as AsyncIterable<ConsumeResponse>) {
      waits.reset();
      switch (message?.$case) {
        case "delivery":
          if (stop.aborted) break;
          handling = settle(client, queue, message.value, (request) => stream.write(request));
          await handling;
          break;
        case "outcome":
          if (message.value.error !== undefined) {
            say({ refused: message.value.receipt, message: message.value.error.message });
          }
          break;
      }
    }
  } finally {
    stop.removeEventListener("abort", close);
  }
}

/**
 * Replies, which acks too, or acks where nobody waits for a reply. The client has the connection that
 * the message came over.
 */
async function settle(
  client: MessageQueueClient,
  queue: string,
  delivery: Delivery,
  tell: (request: ConsumeRequest) => void,
): Promise<void> {
  const { receipt, attempt } = delivery;
  const id = delivery.message!.id!;
  const reply = handle(delivery.message!);
  if (!delivery.expectsReply) {
    tell({ message: { $case: "ack", value: { receipts: [receipt] } } });
    return;
  }
  try {
    const request = { queue, receipt, reply };
    await channel.retrying(id, () => channel.unary(client.reply.bind(client), request));
    say({ answered: id, attempt });
  } catch (error) {
    const reason = isServiceError(error) ? failureOf(error).reason : undefined;
    if (reason === undefined || !SETTLED.includes(reason)) throw error;
    say({ refused: id, reason });
  }
}

/** Calls a worker with each line of standard input, as in `[2, 3]`. */
export async function call(queue: string, seconds: number): Promise<void> {
  const client = connect();
  for await (const line of channel.lines()) {
    const body = { $case: "textBody" as const, value: line };
    const timeout = { seconds: Math.floor(seconds), nanos: Math.round((seconds % 1) * 1e9) };
    const request = CallRequest.fromPartial({ queue, message: { type: "add", body }, timeout });
    // The deadline is a little later than the service's own, whose error (CALL_TIMEOUT) tells what
    // became of the message. A call that fails otherwise may have been handled: this one may be made
    // again because adding twice does no harm.
    const answer = await channel.retrying(line, () =>
      channel.unary(client.call.bind(client), request, (seconds + 2) * 1_000),
    );
    const result = answer.reply?.result;
    if (result?.$case === "error") {
      say({ call: line, failed: result.value.message });
    } else {
      const text = result?.value.body?.$case === "textBody" ? result.value.body.value : undefined;
      say({ call: line, reply: text });
    }
  }
  client.close();
}
