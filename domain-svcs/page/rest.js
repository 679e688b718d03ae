// The REST API of the shop, with errors in words. Writes carry an idempotency key: trying again does nothing twice.

const PATIENCE = 20_000;
const TRIES = 4;

/** What went wrong, to be read by people. */
export class RestError extends Error {}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Something new each time, also where there is no secure context. */
export function unique() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function attempt(method, path, body, key) {
  const headers = { accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (key) headers["idempotency-key"] = key;
  let response;
  try {
    response = await fetch(path, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store", signal: AbortSignal.timeout(PATIENCE),
    });
  } catch (error) {
    const late = error.name === "TimeoutError";
    return { again: !late, error: late ? "no answer in time" : "the gateway cannot be reached" };
  }
  let answer;
  try {
    answer = await response.json();
  } catch {
    return { again: response.status >= 500, error: `an answer that is not JSON (status ${response.status})` };
  }
  if (response.ok && "result" in answer) return { result: answer.result };
  return { again: response.status === 503, error: String(answer.error ?? `status ${response.status}`) };
}

async function request(method, path, body, key) {
  for (let tried = 1; ; tried += 1) {
    const answer = await attempt(method, path, body, key);
    if ("result" in answer) return answer.result;
    if (!answer.again || tried === TRIES) throw new RestError(`${method} ${path}: ${answer.error}`);
    await pause(150 * 2 ** tried);
  }
}

export const get = (path) => request("GET", path);
export const post = (path, body, key = unique()) => request("POST", path, body, key);
export const put = (path, body, key = unique()) => request("PUT", path, body, key);
export const del = (path, key = unique()) => request("DELETE", path, undefined, key);
