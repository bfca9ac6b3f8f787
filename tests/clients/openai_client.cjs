// openai_client -- what an application does with the official npm client; exits non-zero when it cannot.
const OpenAI = require("openai");
const assert = require("node:assert");

async function main() {
  const client = new OpenAI({ maxRetries: 0 });
  const model = (await client.models.list()).data[0].id;
  const ask = {
    model, temperature: 0, max_tokens: 40,
    messages: [{ role: "user", content: "Who wrote the play Romeo and Juliet?" }],
  };
  const answer = await client.chat.completions.create(ask);
  assert.match(answer.choices[0].message.content, /Shakespeare/);
  let text = "";
  for await (const chunk of await client.chat.completions.create({ ...ask, stream: true }))
    text += chunk.choices[0]?.delta?.content ?? "";
  assert.strictEqual(text, answer.choices[0].message.content);
  await assert.rejects(client.chat.completions.create({ ...ask, model: "no-such-model" }), OpenAI.NotFoundError);
  await assert.rejects(client.chat.completions.create({ ...ask, temperature: 99 }), OpenAI.BadRequestError);
  const many = await client.embeddings.create({ model, input: ["The cat sat.", "Interest rates rose."] });
  const plain = await client.embeddings.create({ model, input: "The cat sat.", encoding_format: "float" });
  assert.strictEqual(many.data.length, 2); // asked for in base64 and decoded by the client
  plain.data[0].embedding.forEach((x, i) => assert.ok(Math.abs(x - many.data[0].embedding[i]) < 1e-6));
  const runner = client.chat.completions.stream(ask);
  const last = await runner.finalChatCompletion();
  assert.strictEqual(last.choices[0].message.content, text);
  await tools(client, model);
}

// The client's own loop: it calls our function with parsed arguments and hands the result back.
async function tools(client, model) {
  const seen = [];
  const runner = client.chat.completions.runTools({
    model, temperature: 0, max_tokens: 100, parallel_tool_calls: false, stream: true,
    messages: [{ role: "user", content: "Weather in Paris?" }],
    tool_choice: { type: "function", function: { name: "get_weather" } },
    tools: [{ type: "function", function: {
      name: "get_weather", description: "Current weather of a city.", parse: JSON.parse,
      parameters: { type: "object", properties: { city: { type: "string", enum: ["Paris", "Oslo"] } }, required: ["city"],
                    additionalProperties: false },
      function: (args) => { seen.push(args.city); return "18 degrees"; },
    } }],
  });
  await runner.done();
  assert.strictEqual(seen.length, 1);
  assert.ok(["Paris", "Oslo"].includes(seen[0]), seen[0]);
}
main().then(() => console.log("ok"), (e) => { console.error(e); process.exit(1); });
