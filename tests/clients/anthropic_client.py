"""anthropic_client -- what an application does with the official Python client; exits non-zero when it cannot."""
import json, os
import anthropic

client = anthropic.Anthropic(base_url=os.environ["TW_URL"], api_key="none", max_retries=0)
model = os.environ["TW_MODEL"]
cold = {"temperature": 0}  # newer models of theirs take none, so the client has no such parameter
ask = dict(model=model, max_tokens=40, extra_body=cold, system="You are a helpful assistant.",
           messages=[{"role": "user", "content": "Who wrote the play Romeo and Juliet?"}])

answer = client.messages.create(**ask)
assert answer.type == "message" and answer.role == "assistant" and answer.id.startswith("msg_"), answer
assert answer.content[0].type == "text" and "Shakespeare" in answer.content[0].text, answer
assert answer.stop_reason in ("end_turn", "max_tokens") and answer.usage.output_tokens > 3, answer
prompt = answer.usage.input_tokens + answer.usage.cache_read_input_tokens
assert client.messages.count_tokens(**{k: ask[k] for k in ("model", "system", "messages")}).input_tokens == prompt

with client.messages.stream(**ask) as stream:
    text = "".join(stream.text_stream)
    final = stream.get_final_message()
assert text == answer.content[0].text == final.content[0].text, (text, answer)
assert final.stop_reason == answer.stop_reason and final.usage.output_tokens == answer.usage.output_tokens, final
kinds = [e.type for e in client.messages.create(**ask, stream=True)]
assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"], kinds
assert "content_block_start" in kinds and kinds.count("content_block_stop") == 1, kinds

cut = client.messages.create(**ask, stop_sequences=["speare"])
assert cut.stop_reason == "stop_sequence" and cut.stop_sequence == "speare", cut
assert cut.content[0].text.endswith("Shake"), cut

begun = client.messages.create(model=model, max_tokens=4, extra_body=cold, messages=[
    {"role": "user", "content": [{"type": "text", "text": "The capital of France?",
                                  "cache_control": {"type": "ephemeral"}}]},
    {"role": "assistant", "content": "The capital of France is"}])
assert "Paris" in begun.content[0].text, begun

schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
shaped = client.messages.create(**{**ask, "max_tokens": 60},
                                output_config={"format": {"type": "json_schema", "schema": schema}})
assert list(json.loads(shaped.content[0].text)) == ["n"], shaped

image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
for kind, fields in [(anthropic.NotFoundError, {"model": "no-such-model"}),
                     (anthropic.BadRequestError, {"extra_body": {"temperature": 99}}),
                     (anthropic.BadRequestError, {"extra_body": {"unheard_of": 1}}),
                     (anthropic.BadRequestError, {"messages": [{"role": "user", "content": [image]}]})]:
    try:
        client.messages.create(**{**ask, **fields})
        raise SystemExit(f"no {kind.__name__} for {fields}")
    except kind as e:
        said = e.body
        assert said["type"] == "error" and said["error"]["message"], said
assert "messages[0].content[0]" in said["error"]["message"] and "image" in said["error"]["message"], said
print("ok")
