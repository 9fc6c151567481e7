// The analytics API: a few requests at once, those that nobody wants any more broken off.

/**
 * Queries on their way: fewer than the server runs for a tenant (docs/analytics-api.md), so that what is asked first,
 * the top of the page, is not slowed down by what is below it.
 */
const AT_ONCE = 2;
const TRIES = 3;
const TIMEOUT_MS = 30_000;
const MOST_WAIT_S = 5;

export class Fault extends Error {
  constructor(status, message, code = "") {
    super(message);
    Object.assign(this, { status, code });
  }

  /** The server or its ClickHouse is away, and may be back in a moment. */
  get passing() {
    return this.status === 0 || this.status === 502 || this.status === 503;
  }
}

let running = 0;
const waiting = [];

/** Hand the place on to the next one in the row. */
function release() {
  const next = waiting.shift();
  if (next) next();
  else running -= 1;
}

/** Wait for a place. Who gives up meanwhile leaves the row. */
async function place(signal) {
  signal?.throwIfAborted();
  if (running < AT_ONCE) {
    running += 1;
    return;
  }
  await new Promise((resolve, reject) => {
    waiting.push(resolve);
    signal?.addEventListener("abort", () => {
      const at = waiting.indexOf(resolve);
      if (at >= 0) waiting.splice(at, 1);
      reject(signal.reason);
    });
  });
}

/** The rows of a query of the catalogue. */
export async function rowsOf(key, name, parameters, signal) {
  await place(signal);
  try {
    const query = new URLSearchParams(parameters);
    return (await patiently(key, `/v1/analytics/queries/${encodeURIComponent(name)}/rows?${query}`, signal)).rows;
  } finally {
    release();
  }
}

/** What another route of the API says. */
export const tell = (key, path, signal) => ask(key, path, signal);

async function patiently(key, path, signal) {
  for (let left = TRIES; ; left -= 1) {
    try {
      return await ask(key, path, signal);
    } catch (fault) {
      if (fault.status !== 429 || left <= 1) throw fault;
      await pause(Math.min(fault.retryAfterS ?? 1, MOST_WAIT_S) * 1_000, signal);
    }
  }
}

async function ask(key, path, signal) {
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  let response;
  try {
    response = await fetch(path, {
      headers: { Authorization: `Bearer ${key}` },
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
      cache: "no-store",
    });
    if (response.ok) return await response.json();
  } catch (fault) {
    if (signal?.aborted) throw signal.reason;
    throw new Fault(
      0,
      limit.aborted ? "The server has not answered in 30 seconds." : `The server cannot be reached: ${fault.message}.`,
    );
  }
  throw await faultOf(response);
}

async function faultOf(response) {
  const error = await response.json().then(
    (body) => body.error ?? {},
    () => ({}),
  );
  const fault = new Fault(
    response.status,
    error.message ?? `The server answered ${response.status}.`,
    error.code ?? "",
  );
  fault.retryAfterS = Number(response.headers.get("Retry-After")) || null;
  return fault;
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
