// ollama_tools -- tools with the official npm client: words or well-formed calls, whole and streamed alike.
const { Ollama } = require("ollama");
const assert = require("node:assert");

const tools = [{ type: "function", function: {
  name: "get_weather", description: "Current weather of a city.",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
} }];

function turn(city) {
  return [{ role: "user", content: `Weather in ${city}?` },
          { role: "assistant", content: "", tool_calls: [{ function: { name: "get_weather", arguments: { city } } }] },
          { role: "tool", tool_name: "get_weather", content: "12 degrees" }];
}

async function main() {
  const client = new Ollama({ host: process.env.OLLAMA_HOST });
  const ask = {
    model: (await client.list()).models[0].name, tools, options: { temperature: 0, num_predict: 60 },
    messages: [...turn("Oslo"), ...turn("Rome"), ...turn("Madrid"), { role: "user", content: "Weather in Paris?" }],
  };
  const answer = await client.chat(ask);
  const calls = [];
  let text = "";
  for await (const piece of await client.chat({ ...ask, stream: true })) {
    calls.push(...(piece.message.tool_calls ?? []));
    text += piece.message.content;
  }
  assert.strictEqual(text, answer.message.content);
  assert.deepStrictEqual(calls.map((c) => c.function), (answer.message.tool_calls ?? []).map((c) => c.function));
  assert.ok(calls.length, `shown three calls, the model made none: ${text}`);
  for (const call of calls) {
    assert.strictEqual(call.function.name, "get_weather");
    assert.strictEqual(typeof call.function.arguments.city, "string");
  }
  const told = { role: "tool", tool_name: "get_weather", content: "18 degrees" };
  const follow = await client.chat({ ...ask, messages: [...ask.messages, answer.message, told] });
  assert.ok(follow.message.content || follow.message.tool_calls.length);
}
main().then(() => console.log("ok"), (e) => { console.error(e); process.exit(1); });
