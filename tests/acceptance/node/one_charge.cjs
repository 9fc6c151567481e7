// Calls of the official Node clients, as they come: with the retries that they make by themselves.
// node one_charge.cjs API_KEY CALLS_AT_ONCE < calls.json; prints what each call's user sees, as a JSON list.

const Anthropic = require("@anthropic-ai/sdk");
const OpenAI = require("openai");

const [apiKey, atOnce] = process.argv.slice(2);

async function openai(call) {
  const baseURL = call.base + (call.route === "api_chat" ? "/api/v1" : "/v1");
  const client = new OpenAI({ baseURL, apiKey, timeout: call.timeout });
  const headers = { headers: call.headers };
  if (call.route === "embeddings") {
    const found = await client.embeddings.create({ model: call.models.embeddings, input: call.prompt }, headers);
    return `${found.data.length} vectors`;
  }
  const asked = { model: call.models.chat, messages: [{ role: "user", content: call.prompt }] };
  if (call.route !== "chat_stream") {
    const found = await client.chat.completions.create(asked, headers);
    return found.choices[0].message.content ?? "";
  }
  let text = "";
  for await (const chunk of await client.chat.completions.create({ ...asked, stream: true }, headers)) {
    text += chunk.choices[0]?.delta?.content ?? "";
  }
  return text;
}

async function anthropic(call) {
  const client = new Anthropic({ baseURL: call.base, apiKey, timeout: call.timeout });
  const asked = {
    model: call.models.messages,
    max_tokens: 300,
    messages: [{ role: "user", content: call.prompt }],
  };
  const headers = { headers: call.headers };
  if (call.route === "messages") {
    return (await client.messages.create(asked, headers)).content[0]?.text ?? "";
  }
  let text = "";
  for await (const event of await client.messages.create({ ...asked, stream: true }, headers)) {
    text += event.delta?.text ?? "";
  }
  return text;
}

async function outcome(call) {
  try {
    return (await (call.route.startsWith("messages") ? anthropic(call) : openai(call))).slice(0, 60);
  } catch (error) {
    return `${error.constructor.name}: ${error.message}`.slice(0, 200);
  }
}

async function main() {
  let given = "";
  for await (const data of process.stdin) given += data;
  const calls = JSON.parse(given);
  const outcomes = new Array(calls.length);
  let next = 0;
  const work = async () => {
    while (next < calls.length) {
      const index = next++;
      outcomes[index] = await outcome(calls[index]);
    }
  };
  await Promise.all(Array.from({ length: Number(atOnce) }, work));
  process.stdout.write(JSON.stringify(outcomes));
}

main();
