// anthropic_client -- what an application does with the official npm client; exits non-zero when it cannot.
const { Anthropic } = require("@anthropic-ai/sdk");
const assert = require("node:assert");

async function main() {
  const client = new Anthropic({ baseURL: process.env.TW_URL, apiKey: "none", maxRetries: 0 });
  const ask = {
    model: process.env.TW_MODEL, max_tokens: 40, temperature: 0,
    messages: [{ role: "user", content: "Who wrote the play Romeo and Juliet?" }],
  };
  const answer = await client.messages.create(ask);
  assert.match(answer.content[0].text, /Shakespeare/);
  const stream = client.messages.stream(ask);
  let text = "";
  stream.on("text", (piece) => { text += piece; });
  const final = await stream.finalMessage();
  assert.strictEqual(text, answer.content[0].text);
  assert.strictEqual(final.usage.output_tokens, answer.usage.output_tokens);
  const counted = await client.messages.countTokens({ model: ask.model, messages: ask.messages });
  assert.strictEqual(counted.input_tokens, answer.usage.input_tokens + answer.usage.cache_read_input_tokens);
  await assert.rejects(client.messages.create({ ...ask, model: "no-such-model" }), Anthropic.NotFoundError);
  await assert.rejects(client.messages.create({ ...ask, max_tokens: 0 }), Anthropic.BadRequestError);
}
main().then(() => console.log("ok"), (e) => { console.error(e); process.exit(1); });
