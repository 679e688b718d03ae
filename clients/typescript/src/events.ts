// The event store: append safely, read, and subscribe where one was.

import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { Metadata } from "@grpc/grpc-js";
import * as channel from "./channel.js";
import { failureOf, isServiceError, isTransient, nameOf, say } from "./channel.js";
import { Durability, Event, RecordedEvent, Start } from "./stubs/eventstore/v1/event.js";
import {
  AppendRequest,
  EventStoreClient,
  ReadRequest,
  type ReadResponse,
  SubscribeRequest,
  type SubscribeResponse,
} from "./stubs/eventstore/v1/event_store.js";

function connect(): EventStoreClient {
  return new EventStoreClient(channel.EVENT_STORE, channel.CREDENTIALS, channel.OPTIONS);
}

/**
 * Appends each line of standard input as an event. Ids are chosen before the first try, so each
 * retry is stored once. With the same prefix even running the program again is a retry.
 */
export async function append(topic: string, type: string, prefix: string): Promise<void> {
  const store = connect();
  let number = 0;
  for await (const line of channel.lines()) {
    const id = `${prefix}-${++number}`;
    const data = { $case: "textData" as const, value: line };
    const event = Event.fromPartial({ id, type, source: "typescript", subject: prefix, data });
    const request = AppendRequest.fromPartial({ topic, events: [event] });
    const answer = await channel.retrying(id, () =>
      channel.unary(store.append.bind(store), request),
    );
    say({
      appended: id,
      sequence: answer.firstSequence,
      position: answer.lastPosition,
      deduplicated: answer.deduplicated,
      // A newer service may answer with a value that these stubs have no name for.
      durability: Durability[answer.durability] ?? `DURABILITY_${answer.durability}`,
    });
  }
  store.close();
}

/** Prints the events that are there: of a topic, or of one of its subjects. */
export async function read(topic: string, subject: string | undefined): Promise<void> {
  const store = connect();
  const request = ReadRequest.fromPartial({ topic, subject });
  const options = { deadline: Date.now() + channel.PATIENCE };
  const stream: AsyncIterable<ReadResponse> = store.read(request, new Metadata(), options);
  for await (const answer of stream) show(answer.event!);
  store.close();
}

function show({ sequence, position, event }: RecordedEvent): void {
  const text = event?.data?.$case === "textData" ? event.data.value : "";
  say({ sequence, position, id: event?.id, type: event?.type, text });
}

/**
 * The position of the last event that was handled, kept in a file. Kept in the same transaction as
 * what a handler writes, it makes each event count exactly once.
 */
class Progress {
  position = "";

  constructor(private readonly file: string | undefined) {
    if (file !== undefined && existsSync(file)) this.position = readFileSync(file, "utf8").trim();
  }

  move(position: string): void {
    this.position = position;
    if (this.file === undefined) return;
    writeFileSync(`${this.file}.new`, position);
    renameSync(`${this.file}.new`, this.file);
  }

  start(): Start {
    if (this.position === "") return { at: { $case: "beginning", value: {} } };
    return { at: { $case: "afterPosition", value: this.position } };
  }
}

/** Prints events as they come, and goes on where it was whenever the stream breaks. */
export async function subscribe(
  topic: string,
  file: string | undefined,
  stop: AbortSignal,
): Promise<void> {
  const progress = new Progress(file);
  const store = connect();
  const waits = new channel.Pauses();
  while (!stop.aborted) {
    const before = progress.position;
    try {
      await follow(store, topic, progress, stop);
    } catch (error) {
      if (!isServiceError(error)) throw error;
      const failure = failureOf(error);
      if (stop.aborted) break;
      if (failure.reason === "POSITION_TRIMMED" || failure.reason === "POSITION_BEYOND_HEAD") {
        // Trimmed: events were missed, retention has removed them. Beyond the head: the topic lost
        // its end, and what stands there now may be new. In both cases what was built from the
        // events is to be built again, from what there is.
        say({ starting_over: failure.reason, metadata: failure.metadata });
        progress.move("");
      } else if (isTransient(failure)) {
        say({ resuming: progress.position, reason: nameOf(failure) });
      } else {
        throw error;
      }
    }
    if (progress.position !== before) waits.reset();
    await waits.wait(stop);
  }
  store.close();
  say({ stopped: true });
}

async function follow(
  store: EventStoreClient,
  topic: string,
  progress: Progress,
  stop: AbortSignal,
): Promise<void> {
  const request = SubscribeRequest.fromPartial({ topics: [{ topic, start: progress.start() }] });
  // No deadline: it lasts. Keepalive tells when nobody is there any more.
  const stream = store.subscribe(request);
  const cancel = () => stream.cancel();
  stop.addEventListener("abort", cancel, { once: true });
  try {
    for await (const { message } of stream as AsyncIterable<SubscribeResponse>) {
      // Undefined for a kind of message that these stubs do not know yet.
      switch (message?.$case) {
        case "event":
          show(message.value);
          progress.move(message.value.position);
          break;
        case "caughtUp":
          say({ caught_up: message.value.topic });
          break;
        case "heartbeat": {
          const position = message.value.topics[0]?.position;
          if (position !== undefined) progress.move(position);
          break;
        }
      }
    }
  } finally {
    stop.removeEventListener("abort", cancel);
  }
}
