"""ollama_tools -- tools with the official Python client. Ollama's dialect cannot force a call: what comes back is words or
well-formed calls, whole and streamed alike; results go back as messages of role tool."""
import os
import ollama

client = ollama.Client(host=os.environ["OLLAMA_HOST"])


def get_weather(city: str, days: int) -> str:
    """Current weather of a city.

    Args:
        city: The city's name.
        days: How many days from now.
    """
    return f"18 degrees in {city} after {days} days"


model = client.list().models[0].model
assert "tools" in client.show(model).capabilities, client.show(model).capabilities
def asked(city, days):
    return {"role": "user", "content": f"Weather in {city} in {days} days?"}


def called(city, days):
    return [asked(city, days), {"role": "assistant", "tool_calls": [
        {"function": {"name": "get_weather", "arguments": {"city": city, "days": days}}}]},
            {"role": "tool", "tool_name": "get_weather", "content": "12 degrees"}]


# What came before shows even a small model what to do.
before = called("Oslo", 2) + called("Rome", 1) + called("Madrid", 4) + called("Bern", 5)
ask = dict(model=model, tools=[get_weather], options={"temperature": 0, "num_predict": 100},
           messages=before + [asked("Paris", 3)])


def check(message):
    assert message.content or message.tool_calls, message
    for call in message.tool_calls or ():
        assert call.function.name == "get_weather" and isinstance(call.function.arguments["city"], str), call
        assert isinstance(call.function.arguments["days"], int) and len(call.function.arguments) == 2, call


answer = client.chat(**ask)
check(answer.message)
assert answer.done and answer.done_reason in ("stop", "length"), answer
pieces = list(client.chat(**ask, stream=True))
assert "".join(p.message.content or "" for p in pieces) == (answer.message.content or ""), pieces
streamed = [c for p in pieces for c in p.message.tool_calls or ()]
assert [c.function for c in streamed] == [c.function for c in answer.message.tool_calls or ()], (streamed, answer)
assert pieces[-1].done and all(not p.done for p in pieces[:-1]), pieces
assert streamed, f"shown four calls, the model made none: {answer.message}"

call = streamed[0].function
back = ask["messages"] + [answer.message, {"role": "tool", "tool_name": call.name, "content": get_weather(**call.arguments)},
                          {"role": "user", "content": "So is it warm? Answer in words."}]
follow = client.chat(**{**ask, "messages": back})
check(follow.message)
assert follow.prompt_eval_count > answer.prompt_eval_count, follow
plain = client.chat(model=model, messages=back, options=ask["options"])
assert plain.message.content and not plain.message.tool_calls, plain

try:
    client.chat(**{**ask, "tools": [{"type": "function", "function": {"name": "a b"}}]})
    raise SystemExit("no 400")
except ollama.ResponseError as e:
    assert e.status_code == 400 and "a b" in e.error, e
print("ok")
