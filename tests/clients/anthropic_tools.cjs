// anthropic_tools -- tool calls with the official npm client: forced, streamed, and in the client's own loop.
const { Anthropic } = require("@anthropic-ai/sdk");
const assert = require("node:assert");

const schema = {
  type: "object", additionalProperties: false, required: ["city"],
  properties: { city: { type: "string", enum: ["Paris", "Oslo"] } },
};

async function main() {
  const client = new Anthropic({ baseURL: process.env.TW_URL, apiKey: "none", maxRetries: 0 });
  const ask = {
    model: process.env.TW_MODEL, max_tokens: 60, temperature: 0,
    messages: [{ role: "user", content: "Weather in Paris?" }],
    tools: [{ name: "get_weather", description: "Current weather of a city.", input_schema: schema }],
    tool_choice: { type: "tool", name: "get_weather" },
  };
  const answer = await client.messages.create(ask);
  assert.strictEqual(answer.stop_reason, "tool_use");
  assert.ok(["Paris", "Oslo"].includes(answer.content[0].input.city), JSON.stringify(answer));
  const stream = client.messages.stream(ask);
  let json = "";
  stream.on("inputJson", (piece) => { json += piece; });
  const final = await stream.finalMessage();
  assert.deepStrictEqual(final.content[0].input, answer.content[0].input);
  assert.deepStrictEqual(JSON.parse(json), answer.content[0].input);
  const seen = [];
  const runner = client.beta.messages.toolRunner({
    ...ask, max_iterations: 2,
    tools: [{ ...ask.tools[0], parse: (input) => input, run: (input) => { seen.push(input.city); return "18 degrees"; } }],
  });
  let turns = 0;
  for await (const message of runner) turns += message.role === "assistant" ? 1 : 0;
  assert.strictEqual(turns, 2);
  assert.ok(seen.length && seen.every((city) => schema.properties.city.enum.includes(city)), JSON.stringify(seen));
}
main().then(() => console.log("ok"), (e) => { console.error(e); process.exit(1); });
