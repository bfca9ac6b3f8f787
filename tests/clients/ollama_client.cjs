// ollama_client -- what an application does with the official npm client; exits non-zero when it cannot.
const { Ollama } = require("ollama");
const assert = require("node:assert");

async function main() {
  const client = new Ollama({ host: process.env.OLLAMA_HOST });
  const model = (await client.list()).models[0].name;
  const ask = {
    model, options: { temperature: 0, num_predict: 40 },
    messages: [{ role: "user", content: "Who wrote the play Romeo and Juliet?" }],
  };
  const answer = await client.chat(ask);
  assert.match(answer.message.content, /Shakespeare/);
  let text = "";
  for await (const piece of await client.chat({ ...ask, stream: true })) text += piece.message.content;
  assert.strictEqual(text, answer.message.content);
  const generated = await client.generate({ model, prompt: ask.messages[0].content, options: ask.options });
  assert.strictEqual(generated.response, text);
  assert.strictEqual((await client.ps()).models[0].name, model);
  assert.strictEqual((await client.show({ model })).details.format, "gguf");
  assert.match((await client.version()).version, /tokenworks/);
  await assert.rejects(client.chat({ ...ask, model: "no-such-model" }), /no-such-model/);
}
main().then(() => console.log("ok"), (e) => { console.error(e); process.exit(1); });
