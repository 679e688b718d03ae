// Channels, what an error tells, and which errors are worth another try.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import {
  type CallOptions,
  type ChannelOptions,
  type ServiceError,
  Metadata,
  credentials,
  status,
} from "@grpc/grpc-js";
import { ErrorInfo, RetryInfo } from "./stubs/google/rpc/error_details.js";
import { Status } from "./stubs/google/rpc/status.js";

/** A call gets so long, in ms; a retry is another call. */
export const DEADLINE = 10_000;
/** So long is a write tried again, in ms, before its error is final. */
export const PATIENCE = 60_000;

export const EVENT_STORE = process.env.EVENT_STORE ?? "localhost:50051";
export const MESSAGE_QUEUE = process.env.MESSAGE_QUEUE ?? "localhost:50052";
export const CREDENTIALS = credentials.createInsecure();

export const OPTIONS: ChannelOptions = {
  "grpc.service_config": readFileSync(process.env.SERVICE_CONFIG!, "utf8"),
  // Finds out within 40 s that a connection is dead, also while it is quiet.
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  // A service that comes back is found within 2 s.
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 2_000,
  // Events may be as large as the service is configured to take; the default is 4 MiB.
  "grpc.max_receive_message_length": 20 * 1024 * 1024,
};

/** What an error tells: its code for gRPC, its reason for programs, its message for people. */
export interface Failure {
  code: string;
  reason?: string;
  message: string;
  metadata: Record<string, string>;
  /** How long the service asks to wait, in ms. */
  retryAfter?: number;
}

export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && "details" in error && "metadata" in error;
}

export function failureOf(error: ServiceError): Failure {
  const failure: Failure = { code: status[error.code], message: error.details, metadata: {} };
  for (const encoded of error.metadata.get("grpc-status-details-bin")) {
    for (const detail of Status.decode(encoded as Buffer).details) {
      if (detail.typeUrl.endsWith("/google.rpc.ErrorInfo")) {
        const info = ErrorInfo.decode(detail.value);
        failure.reason = info.reason;
        failure.metadata = info.metadata;
      } else if (detail.typeUrl.endsWith("/google.rpc.RetryInfo")) {
        const delay = RetryInfo.decode(detail.value).retryDelay;
        failure.retryAfter = (delay?.seconds ?? 0) * 1_000 + (delay?.nanos ?? 0) / 1e6;
      }
    }
  }
  return failure;
}

const OF_THE_CONNECTION = ["UNAVAILABLE", "UNKNOWN", "INTERNAL", "CANCELLED", "DEADLINE_EXCEEDED"];

/** Whether another try may succeed; for a write only with the same ids as before. */
export function isTransient(failure: Failure): boolean {
  if (failure.reason === undefined) return OF_THE_CONNECTION.includes(failure.code);
  return failure.code === "UNAVAILABLE" || ["OUTCOME_UNKNOWN", "RATE_LIMITED"].includes(failure.reason);
}

/** The reason; for an error of the connection, which has none, the code. */
export function nameOf(failure: Failure): string {
  return failure.reason ?? failure.code;
}

/** Waits between tries: 100 ms, twice that, and so on up to 2 s, each with jitter. */
export class Pauses {
  #next = 100;

  /** Returns early when stopped. */
  async wait(stop?: AbortSignal, atLeast = 0): Promise<void> {
    const time = atLeast + this.#next * (0.8 + 0.4 * Math.random());
    this.#next = Math.min(this.#next * 2, 2_000);
    await sleep(time, undefined, { signal: stop }).catch(() => {});
  }

  reset(): void {
    this.#next = 100;
  }
}

/** A unary call of a generated stub. */
type Unary<Request, Response> = (
  request: Request,
  metadata: Metadata,
  options: CallOptions,
  done: (error: ServiceError | null, response: Response) => void,
) => unknown;

/** Makes a unary call, and tells its outcome as a promise. */
export function unary<Request, Response>(
  call: Unary<Request, Response>,
  request: Request,
  timeout = DEADLINE,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    call(request, new Metadata(), { deadline: Date.now() + timeout }, (error, response) =>
      error ? reject(error) : resolve(response),
    );
  });
}

/** Makes a call that may be made twice, until it succeeds or fails for good. */
export async function retrying<T>(what: string, call: () => Promise<T>): Promise<T> {
  const end = Date.now() + PATIENCE;
  const waits = new Pauses();
  for (;;) {
    try {
      return await call();
    } catch (error) {
      if (!isServiceError(error)) throw error;
      const failure = failureOf(error);
      if (!isTransient(failure) || Date.now() > end) throw error;
      say({ retrying: what, reason: nameOf(failure) });
      await waits.wait(undefined, failure.retryAfter);
    }
  }
}

/** Lines of standard input, as they come. */
export function lines(): AsyncIterable<string> {
  return createInterface({ input: process.stdin });
}

/** Prints one line of JSON. */
export function say(fields: object): void {
  process.stdout.write(JSON.stringify(fields) + "\n");
}
