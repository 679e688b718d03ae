// An example client of the event store and the message queue: generated stubs and grpc-js, nothing
// else. Each subcommand is one way to use them; what it does it says as lines of JSON.

import { randomUUID } from "node:crypto";
import { failureOf, isServiceError, say } from "./channel.js";
import { append, read, subscribe } from "./events.js";
import { consume } from "./groups.js";
import { call, work } from "./queues.js";

const USAGE = `usage:
  append TOPIC [TYPE [ID_PREFIX]]   append each line of standard input as an event
  read TOPIC [SUBJECT]              print the events that are there
  subscribe TOPIC [POSITION_FILE]   print events as they come
  consume TOPIC GROUP [CONSUMER]    handle events as a member of a group
  work QUEUE                        answer calls: adds the numbers of a JSON array
  call QUEUE [SECONDS]              call a worker with each line of standard input
`;

/** Aborted by SIGTERM or Ctrl-C. */
function stopSignal(): AbortSignal {
  const stop = new AbortController();
  for (const name of ["SIGTERM", "SIGINT"] as const) process.on(name, () => stop.abort());
  return stop.signal;
}

async function run([command, name, ...rest]: string[]): Promise<void> {
  if (name === undefined) return usage();
  switch (command) {
    case "append":
      return append(name, rest[0] ?? "line", rest[1] ?? randomUUID());
    case "read":
      return read(name, rest[0]);
    case "subscribe":
      return subscribe(name, rest[0], stopSignal());
    case "consume":
      return consume(name, rest[0] ?? "typescript", rest[1] ?? "typescript", stopSignal());
    case "work":
      return work(name, stopSignal());
    case "call":
      return call(name, Number(rest[0] ?? 10));
    default:
      return usage();
  }
}

function usage(): void {
  process.stderr.write(USAGE);
  process.exitCode = 2;
}

try {
  await run(process.argv.slice(2));
} catch (error) {
  if (!isServiceError(error)) throw error;
  say({ error: failureOf(error) });
  process.exitCode = 1;
}
