"""anthropic_tools -- tool calls with the official Python client: forced, streamed, answered; exits non-zero when one is
not as it should be. What must be called is held by a grammar, so a small model will do."""
import os, re
import anthropic

client = anthropic.Anthropic(base_url=os.environ["TW_URL"], api_key="none", max_retries=0)
tools = [{"name": "get_weather", "description": "Current weather of a city.", "input_schema": {
    "type": "object", "properties": {"city": {"type": "string", "enum": ["Paris", "Oslo"]},
                                     "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city", "days"], "additionalProperties": False}},
         {"name": "now", "description": "The time.", "input_schema": {"type": "object", "properties": {},
                                                                      "additionalProperties": False}}]
ask = dict(model=os.environ["TW_MODEL"], max_tokens=100, extra_body={"temperature": 0}, tools=tools,
           messages=[{"role": "user", "content": "Weather in Paris tomorrow?"}])
one = {"type": "tool", "name": "get_weather"}
alone = {"type": "any", "disable_parallel_tool_use": True}


def check(block):
    assert block.type == "tool_use" and re.fullmatch("[A-Za-z0-9_-]+", block.id), block
    if block.name == "get_weather":
        assert block.input["city"] in ("Paris", "Oslo") and 1 <= block.input["days"] <= 9, block
        assert list(block.input) == ["city", "days"], block
    else:
        assert block.name == "now" and block.input == {}, block


# A named tool: one call, and nothing beside it; the same in a stream, piece by piece.
answer = client.messages.create(**ask, tool_choice=one)
assert answer.stop_reason == "tool_use" and len(answer.content) == 1, answer
check(answer.content[0])
assert answer.content[0].name == "get_weather", answer
with client.messages.stream(**ask, tool_choice=one) as stream:
    events = list(stream)
    final = stream.get_final_message()
pieces = [e for e in events if e.type == "input_json"]
assert final.content[0].input == answer.content[0].input == pieces[-1].snapshot, (final, answer)
assert final.stop_reason == "tool_use" and final.usage.output_tokens == answer.usage.output_tokens, final
raw = list(client.messages.create(**ask, tool_choice=one, stream=True))
opened = [e for e in raw if e.type == "content_block_start"]
assert len(opened) == 1 and opened[0].content_block.name == "get_weather" and opened[0].content_block.input == {}, raw
deltas = [e.delta for e in raw if e.type == "content_block_delta"]
assert {d.type for d in deltas} == {"input_json_delta"} and len(deltas) > 1, deltas
assert [e.type for e in raw[-3:]] == ["content_block_stop", "message_delta", "message_stop"], raw

# Any tool, one call; and as many as the model likes.
for choice in (alone, {"type": "any"}):
    some = client.messages.create(**ask, tool_choice=choice)
    assert some.stop_reason in ("tool_use", "max_tokens") and some.content, some
    for block in some.content if some.stop_reason == "tool_use" else ():
        check(block)
    assert choice is not alone or len(some.content) == 1 and some.stop_reason == "tool_use", some

# The result goes back; then words or well-formed calls may come.
back = ask["messages"] + [{"role": "assistant", "content": answer.content}, {"role": "user", "content": [
    {"type": "tool_result", "tool_use_id": answer.content[0].id, "content": [{"type": "text", "text": "18 degrees"}]},
    {"type": "text", "text": "So is it warm?"}]}]
follow = client.messages.create(**{**ask, "messages": back})
assert follow.content and all(b.type == "text" and b.text or check(b) is None for b in follow.content), follow
assert follow.usage.input_tokens + follow.usage.cache_read_input_tokens > answer.usage.input_tokens, follow
none = client.messages.create(**{**ask, "messages": back}, tool_choice={"type": "none"})
assert {b.type for b in none.content} == {"text"} and none.stop_reason != "tool_use", none
failed = [{**back[-1]["content"][0], "is_error": True, "content": "no such city"}]
client.messages.create(**{**ask, "messages": back[:-1] + [{"role": "user", "content": failed}]})
counted = client.messages.count_tokens(model=ask["model"], messages=back, tools=tools).input_tokens
assert counted == follow.usage.input_tokens + follow.usage.cache_read_input_tokens, (counted, follow)

# Cut short: the call has begun and max_tokens says why it did not end.
cut = client.messages.create(**{**ask, "max_tokens": 16}, tool_choice=one)
assert cut.stop_reason == "max_tokens", cut

for fields in ({"tool_choice": {"type": "tool", "name": "nobody"}}, {"tool_choice": {"type": "perhaps"}},
               {"tools": [{"name": "a b", "input_schema": {"type": "object"}}]},
               {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}):
    try:
        client.messages.create(**{**ask, **fields})
        raise SystemExit(f"no BadRequestError for {fields}")
    except anthropic.BadRequestError as e:
        assert e.body["error"]["type"] == "invalid_request_error" and e.body["error"]["message"], e.body


# The client's own loop: it calls our function and hands the result back until there are words.
@anthropic.beta_tool
def get_weather(city: str) -> str:
    """Current weather of a city.

    Args:
        city: The city's name.
    """
    seen.append(city)
    return "18 degrees"


seen = []
runner = client.beta.messages.tool_runner(
    model=ask["model"], max_tokens=60, tools=[get_weather], max_iterations=2, extra_body={"temperature": 0},
    tool_choice={**one, "disable_parallel_tool_use": True}, messages=ask["messages"])
turns = list(runner)
assert len(turns) == 2 and seen and all(isinstance(city, str) for city in seen), (turns, seen)
print("ok")
