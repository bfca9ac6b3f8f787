// openai_responses -- /v1/responses as an application uses it with the official npm client.
const OpenAI = require("openai");
const assert = require("node:assert");

async function main() {
  const client = new OpenAI({ maxRetries: 0 });
  const model = (await client.models.list()).data[0].id;
  const ask = { model, input: "Who wrote the play Romeo and Juliet?", temperature: 0, max_output_tokens: 40 };
  const answer = await client.responses.create(ask);
  assert.match(answer.output_text, /Shakespeare/);
  let text = "", last;
  for await (const event of await client.responses.create({ ...ask, stream: true })) {
    if (event.type === "response.output_text.delta") text += event.delta;
    last = event;
  }
  assert.strictEqual(text, answer.output_text);
  assert.strictEqual(last.response.usage.output_tokens, answer.usage.output_tokens);
  assert.strictEqual((await client.responses.retrieve(answer.id)).output_text, text);
  await client.responses.delete(answer.id);
  await assert.rejects(client.responses.retrieve(answer.id), OpenAI.NotFoundError);
  await assert.rejects(client.responses.create({ ...ask, background: true }), OpenAI.BadRequestError);
}
main().then(() => console.log("ok"), (e) => { console.error(e); process.exit(1); });
