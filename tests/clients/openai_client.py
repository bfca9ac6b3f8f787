"""openai_client -- what an application does with the official Python client; exits non-zero when it cannot."""
import openai

client = openai.OpenAI(max_retries=0)
model = client.models.list().data[0].id
assert client.models.retrieve(model).id == model
ask = dict(model=model, messages=[{"role": "user", "content": "Who wrote the play Romeo and Juliet?"}], temperature=0,
           max_tokens=40)

answer = client.chat.completions.create(**ask)
assert "Shakespeare" in answer.choices[0].message.content, answer
assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens

text, usage = "", None
for chunk in client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}):
    usage = chunk.usage or usage
    text += chunk.choices[0].delta.content or "" if chunk.choices else ""
assert text == answer.choices[0].message.content, (text, answer)
assert usage.completion_tokens == answer.usage.completion_tokens

detail = client.chat.completions.create(**{**ask, "max_tokens": 2}, logprobs=True, top_logprobs=3, n=2, seed=5)
assert len(detail.choices) == 2 and len(detail.choices[0].logprobs.content[0].top_logprobs) == 3

completion = client.completions.create(model=model, prompt="The capital of France is", max_tokens=5, temperature=0)
assert "Paris" in completion.choices[0].text, completion

many = client.embeddings.create(model=model, input=["The cat sat.", "A cat was sitting.", "Interest rates rose."])
assert len(many.data) == 3 and many.usage.prompt_tokens == many.usage.total_tokens > 10
plain = client.embeddings.create(model=model, input="The cat sat.", encoding_format="float")
assert all(abs(a - b) < 1e-6 for a, b in zip(plain.data[0].embedding, many.data[0].embedding)), "base64 and float differ"

for kind, fields in [(openai.NotFoundError, {"model": "no-such-model"}), (openai.BadRequestError, {"temperature": 99}),
                     (openai.BadRequestError, {"extra_body": {"unheard_of": 1}})]:
    try:
        client.chat.completions.create(**{**ask, **fields})
        raise SystemExit(f"no {kind.__name__} for {fields}")
    except kind as e:
        assert e.body["message"], e

with client.chat.completions.with_streaming_response.create(**ask, stream=True) as r:
    assert r.headers["content-type"].startswith("text/event-stream")
# Tools: whole and streamed by hand and by the client's own accumulator, results handed back.
import json
tools = [{"type": "function", "function": {"name": "get_weather", "description": "Current weather of a city.", "strict": True,
          "parameters": {"type": "object", "properties": {"city": {"type": "string", "enum": ["Paris", "Oslo"]}},
                         "required": ["city"], "additionalProperties": False}}}]
called = {**ask, "messages": [{"role": "user", "content": "Weather in Paris?"}], "tools": tools, "max_tokens": 100,
          "tool_choice": "required", "parallel_tool_calls": False}
answer = client.chat.completions.create(**called)
call = answer.choices[0].message.tool_calls[0]
assert answer.choices[0].finish_reason == "tool_calls" and call.function.name == "get_weather", answer
assert json.loads(call.function.arguments)["city"] in ("Paris", "Oslo") and call.id, call
with client.chat.completions.stream(**called) as stream:
    done = [e for e in stream if e.type == "tool_calls.function.arguments.done"]
    final = stream.get_final_completion()
assert len(done) == 1 and final.choices[0].message.tool_calls[0].function.arguments == call.function.arguments, final
follow = client.chat.completions.create(**{**called, "tool_choice": "auto", "messages": called["messages"] + [
    answer.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}]})
assert follow.choices[0].message.content or follow.choices[0].message.tool_calls, follow
# The older names: one call, in the older shape.
old = {k: v for k, v in called.items() if k not in ("tools", "tool_choice", "parallel_tool_calls")}
old |= {"functions": [tools[0]["function"]], "function_call": {"name": "get_weather"}}
answer = client.chat.completions.create(**old)
message = answer.choices[0].message
assert answer.choices[0].finish_reason == "function_call" and message.tool_calls is None and message.content is None, answer
assert message.function_call.name == "get_weather" and message.function_call.arguments == call.function.arguments, answer
deltas = [c.choices[0].delta.function_call for c in client.chat.completions.create(**old, stream=True) if c.choices]
deltas = [d for d in deltas if d]
assert deltas[0].name == "get_weather" and "".join(d.arguments for d in deltas) == message.function_call.arguments, deltas
follow = client.chat.completions.create(**{**old, "function_call": "none", "messages": old["messages"] + [
    message, {"role": "function", "name": "get_weather", "content": "18 degrees"}]})
assert follow.choices[0].message.content and follow.choices[0].message.function_call is None, follow
print("ok")
