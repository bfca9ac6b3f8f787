"""openai_responses_tools -- function calls over /v1/responses with the official Python client: forced, streamed, answered,
with the conversation kept here and there; exits non-zero when one is not as it should be."""
import json
import openai

client = openai.OpenAI(max_retries=0)
model = client.models.list().data[0].id
tools = [{"type": "function", "name": "get_weather", "description": "Current weather of a city.", "strict": True,
          "parameters": {"type": "object", "properties": {"city": {"type": "string", "enum": ["Paris", "Oslo"]},
                                                          "days": {"type": "integer", "minimum": 1, "maximum": 9}},
                         "required": ["city", "days"], "additionalProperties": False}},
         {"type": "function", "name": "now", "description": "The time.", "strict": True,
          "parameters": {"type": "object", "properties": {}, "required": [], "additionalProperties": False}}]
ask = dict(model=model, input="Weather in Paris tomorrow?", temperature=0, max_output_tokens=100, tools=tools)
one = {"type": "function", "name": "get_weather"}


def check(item):
    assert item.type == "function_call" and item.call_id and item.id.startswith("fc_"), item
    arguments = json.loads(item.arguments)
    if item.name == "get_weather":
        assert arguments["city"] in ("Paris", "Oslo") and 1 <= arguments["days"] <= 9 and len(arguments) == 2, item
    else:
        assert item.name == "now" and arguments == {}, item


answer = client.responses.create(**ask, tool_choice=one)
assert answer.status == "completed" and len(answer.output) == 1 and answer.output[0].status == "completed", answer
call = answer.output[0]
check(call)
assert call.name == "get_weather" and answer.output_text == "", answer
assert answer.tool_choice.name == "get_weather" and answer.tools[0].name == "get_weather", answer

# Streamed: the item opens empty, its arguments come in pieces, and it closes whole.
events = list(client.responses.create(**ask, tool_choice=one, stream=True))
kinds = [e.type for e in events]
assert [e.sequence_number for e in events] == list(range(len(events))), events
assert kinds[2] == "response.output_item.added" and events[2].item.arguments == "", kinds
assert events[2].item.name == "get_weather" and events[2].item.call_id, events[2]
deltas = [e for e in events if e.type == "response.function_call_arguments.delta"]
assert len(deltas) > 1 and "".join(e.delta for e in deltas) == call.arguments, deltas
assert kinds[-3:] == ["response.function_call_arguments.done", "response.output_item.done", "response.completed"], kinds
assert events[-3].arguments == call.arguments and {e.item_id for e in deltas} == {events[-2].item.id}, events
assert events[-1].response.output[0].arguments == call.arguments, events[-1]
with client.responses.stream(**ask, tool_choice=one) as stream:
    for _ in stream:
        pass
    assert stream.get_final_response().output[0].arguments == call.arguments

for choice in ("required", {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "now"}]}):
    some = client.responses.create(**ask, tool_choice=choice, parallel_tool_calls=False)
    assert len(some.output) == 1 and some.status == "completed", some
    check(some.output[0])
    assert choice == "required" or some.output[0].name == "now", some

# The output goes back: by the response's id, or with everything that came before; both are the same conversation.
told = {"type": "function_call_output", "call_id": call.call_id, "output": "18 degrees"}
kept = client.responses.create(**{**ask, "input": [told]}, previous_response_id=answer.id)
sent = client.responses.create(**{**ask, "input": [{"role": "user", "content": ask["input"]}, *answer.output, told]})
assert kept.usage.input_tokens == sent.usage.input_tokens > answer.usage.input_tokens, (kept, sent)
for item in kept.output:
    assert item.type == "message" or check(item) is None, kept
assert [o.model_dump(exclude={"id", "call_id"}) for o in kept.output] == \
       [o.model_dump(exclude={"id", "call_id"}) for o in sent.output], (kept, sent)
parts = {**told, "output": [{"type": "input_text", "text": "18 degrees"}]}
again = client.responses.create(**{**ask, "input": [parts]}, previous_response_id=answer.id)
assert again.usage.input_tokens == kept.usage.input_tokens, again
none = client.responses.create(**{**ask, "input": [told]}, previous_response_id=answer.id, tool_choice="none")
assert {item.type for item in none.output} == {"message"}, none
items = client.responses.input_items.list(kept.id).data
assert any(i.type == "function_call_output" and i.call_id == call.call_id for i in items), items

cut = client.responses.create(**{**ask, "max_output_tokens": 16}, tool_choice=one)
assert cut.status == "incomplete" and cut.incomplete_details.reason == "max_output_tokens", cut

for fields, param in (({"tool_choice": {"type": "function", "name": "nobody"}}, "tool_choice"),
                      ({"tools": [{"type": "web_search"}]}, "tools[0]"),
                      ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0]")):
    try:
        client.responses.create(**{**ask, **fields})
        raise SystemExit(f"no BadRequestError for {fields}")
    except openai.BadRequestError as e:
        assert e.body["param"] == param and e.body["message"], e.body
print("ok")
