// openai_responses_tools -- function calls over /v1/responses with the official npm client: forced, streamed, answered.
const OpenAI = require("openai");
const assert = require("node:assert");

async function main() {
  const client = new OpenAI({ maxRetries: 0 });
  const ask = {
    model: (await client.models.list()).data[0].id, input: "Weather in Paris?", temperature: 0, max_output_tokens: 60,
    tools: [{
      type: "function", name: "get_weather", description: "Current weather of a city.", strict: true,
      parameters: { type: "object", additionalProperties: false, required: ["city"],
                    properties: { city: { type: "string", enum: ["Paris", "Oslo"] } } },
    }],
  };
  const one = { ...ask, tool_choice: { type: "function", name: "get_weather" } };
  const answer = await client.responses.create(one);
  const call = answer.output[0];
  assert.strictEqual(call.type, "function_call");
  assert.ok(["Paris", "Oslo"].includes(JSON.parse(call.arguments).city), call.arguments);
  let json = "";
  const stream = client.responses.stream(one);
  stream.on("response.function_call_arguments.delta", (event) => { json += event.delta; });
  const final = await stream.finalResponse();
  assert.strictEqual(json, call.arguments);
  assert.strictEqual(final.output[0].arguments, call.arguments);
  const told = { type: "function_call_output", call_id: call.call_id, output: "18 degrees" };
  const kept = await client.responses.create({ ...ask, input: [told], previous_response_id: answer.id });
  const sent = await client.responses.create({ ...ask, input: [{ role: "user", content: ask.input }, call, told] });
  assert.strictEqual(kept.output_text, sent.output_text);
  assert.strictEqual(kept.usage.input_tokens, sent.usage.input_tokens);
}
main().then(() => console.log("ok"), (e) => { console.error(e); process.exit(1); });
