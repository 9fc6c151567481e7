// The requests that the page makes, and what their faults mean to its user.

const TIMEOUT_MS = 30_000;

/** A request that was refused (status), or that reached nobody (status 0). */
export class Fault extends Error {
  constructor(status, message, code = null) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Send a question: `{events_url, stream_token, …}`, or its reply where it was answered before. */
export function submit(key, body, idempotencyKey) {
  return call(key, "POST", "/v1/requests", body, { "Idempotency-Key": idempotencyKey });
}

export function newStreamToken(key, requestId) {
  return call(key, "POST", `/v1/requests/${encodeURIComponent(requestId)}/stream-token`);
}

export function cancel(key, requestId) {
  return call(key, "DELETE", `/v1/requests/${encodeURIComponent(requestId)}`);
}

export async function call(key, method, path, body, extra = {}) {
  let response;
  let content;
  try {
    const headers = { ...extra, Authorization: `Bearer ${key}` };
    if (body) headers["Content-Type"] = "application/json";
    response = await fetch(path, {
      method,
      headers,
      body: body && JSON.stringify(body),
      credentials: "omit",
      cache: "no-store",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    content = await response.json();
  } catch {
    if (response) throw new Fault(response.status, `The server answered ${response.status}, and not in JSON: is this address Headrace's own?`);
    throw new Fault(0, "The server cannot be reached. Check that it runs and that you are connected, then try again.");
  }
  if (!response.ok) throw refusal(response, content.error ?? {});
  return content;
}

function refusal(response, error) {
  const { status } = response;
  const wait = response.headers.get("Retry-After");
  const said = error.message ?? `The server answered ${status}.`;
  let advice = "";
  if (status === 401) advice = "Take the one of this server: `headrace up` prints it.";
  else if (status === 413 || error.code === "context_length_exceeded") advice = "Shorten the message, or begin a new conversation.";
  else if (status === 429 || status === 503) advice = wait ? `Try again in ${wait} s.` : "Try again in a moment.";
  else if (status >= 500) advice = "Try again; if it stays, the server's log has the reason.";
  return new Fault(status, advice ? `${sentence(said)} ${advice}` : sentence(said), error.code);
}

/** Begin with a capital and end with a full stop. */
export function sentence(text) {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}
