"""openai_responses -- /v1/responses as an application uses it with the official Python client."""
import json
import openai

client = openai.OpenAI(max_retries=0)
model = client.models.list().data[0].id
ask = dict(model=model, input="Who wrote the play Romeo and Juliet?", temperature=0, max_output_tokens=40)

answer = client.responses.create(**ask)
assert "Shakespeare" in answer.output_text and answer.id.startswith("resp_"), answer
assert answer.status in ("completed", "incomplete") and answer.output[0].type == "message", answer
assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens

events = list(client.responses.create(**ask, stream=True))
kinds = [e.type for e in events]
assert [e.sequence_number for e in events] == list(range(len(events))), events
assert kinds[:4] == ["response.created", "response.in_progress", "response.output_item.added",
                     "response.content_part.added"], kinds
assert kinds[-4:-1] == ["response.output_text.done", "response.content_part.done", "response.output_item.done"], kinds
assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == answer.output_text
assert events[-1].response.output_text == answer.output_text, events[-1]
with client.responses.stream(**ask) as stream:
    for _ in stream:
        pass
    try:
        assert stream.get_final_response().output_text == answer.output_text
    except RuntimeError:  # it wants response.completed, and this answer was cut at 40 tokens
        assert answer.status == "incomplete"

first = client.responses.create(model=model, input="My name is Alice.", temperature=0, max_output_tokens=30)
second = client.responses.create(model=model, input="What is my name?", temperature=0, max_output_tokens=30,
                                 previous_response_id=first.id)
assert second.previous_response_id == first.id, second
alone = client.responses.create(model=model, input=[
    {"role": "user", "content": "My name is Alice."},
    {"role": "assistant", "content": [{"type": "output_text", "text": first.output_text, "annotations": []}]},
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What is my name?"}]},
], temperature=0, max_output_tokens=30, store=False)
assert alone.output_text == second.output_text and alone.usage.input_tokens == second.usage.input_tokens, second
assert client.responses.retrieve(first.id).output_text == first.output_text
items = client.responses.input_items.list(first.id).data
assert items[0].content[0].text == "My name is Alice.", items
assert client.responses.input_tokens.count(model=model, input=ask["input"]).input_tokens == answer.usage.input_tokens
client.responses.delete(first.id)

schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
shaped = client.responses.create(**ask, text={"format": {"type": "json_schema", "name": "n", "schema": schema,
                                                         "strict": True}})
assert list(json.loads(shaped.output_text)) == ["n"], shaped
told = client.responses.create(**ask, instructions="You answer in one word.", metadata={"a": "b"}, top_logprobs=2,
                               include=["message.output_text.logprobs"])
assert told.instructions == "You answer in one word." and told.metadata == {"a": "b"}, told
assert len(told.output[0].content[0].logprobs[0].top_logprobs) == 2, told

image = [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,aGk="}]}]
for kind, call in [(openai.NotFoundError, lambda: client.responses.retrieve(first.id)),
                   (openai.NotFoundError, lambda: client.responses.retrieve(alone.id)),
                   (openai.NotFoundError, lambda: client.responses.create(**{**ask, "model": "no-such-model"})),
                   (openai.BadRequestError, lambda: client.responses.create(**ask, previous_response_id=first.id)),
                   (openai.BadRequestError, lambda: client.responses.create(**ask, background=True)),
                   (openai.BadRequestError, lambda: client.responses.create(**{**ask, "input": image}))]:
    try:
        call()
        raise SystemExit(f"no {kind.__name__}")
    except kind as e:
        said = e.body
assert said["param"] == "input[0].content[0]" and "text only" in said["message"], said
print("ok")
