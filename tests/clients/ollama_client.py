"""ollama_client -- what an application does with the official Python client; exits non-zero when it cannot."""
import json, os
import ollama

client = ollama.Client(host=os.environ["OLLAMA_HOST"])
model = client.list().models[0].model
assert model == os.environ["TW_MODEL"] + ":latest", model
cold = {"temperature": 0, "num_predict": 40}
ask = dict(model=model, messages=[{"role": "user", "content": "Who wrote the play Romeo and Juliet?"}], options=cold)

answer = client.chat(**ask)
assert "Shakespeare" in answer.message.content and answer.done and answer.done_reason in ("stop", "length"), answer
assert answer.eval_count > 3 and answer.prompt_eval_count > 3 and answer.total_duration > answer.eval_duration > 0
pieces = list(client.chat(**ask, stream=True))
assert "".join(p.message.content for p in pieces) == answer.message.content and pieces[-1].done and len(pieces) > 4

text = client.generate(model=model, prompt="Who wrote the play Romeo and Juliet?", options=cold)
assert text.response == answer.message.content and text.context, text
more = client.generate(model=model, prompt="And who wrote Hamlet?", context=text.context, options=cold)
assert "Shakespeare" in more.response and more.context[:len(text.context)] == text.context, more
raw = client.generate(model=model, prompt="The capital of France is", raw=True, options={**cold, "num_predict": 4})
assert "Paris" in raw.response and raw.done_reason == "length", raw

schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
assert list(json.loads(client.chat(**ask, format=schema).message.content)) == ["n"]
cut = client.chat(**{**ask, "options": {**cold, "stop": ["speare"]}})
assert cut.message.content.endswith("Shake") and cut.done_reason == "stop", cut
assert client.chat(**ask, logprobs=True, top_logprobs=2).logprobs[0].top_logprobs

vectors = client.embed(model=model, input=["Romeo", "Juliet"])
assert len(vectors.embeddings) == 2 and abs(sum(x * x for x in vectors.embeddings[0]) - 1) < 1e-3, vectors
assert len(client.embeddings(model=model, prompt="Romeo").embedding) == len(vectors.embeddings[0])

shown = client.show(model)
assert shown.details.family == "llama" and shown.modelinfo["llama.context_length"] == 8192, shown
assert "completion" in shown.capabilities, shown
assert client.ps().models[0].name == model
assert client.pull(model).status == "success"
assert client.chat(model=model, messages=[]).done_reason == "load"

for status, call in [(404, lambda: client.chat(model="no-such-model", messages=ask["messages"])),
                     (400, lambda: client.chat(**{**ask, "options": {"mirostat": 2}})),
                     (404, lambda: client.show("no-such-model")), (501, lambda: client.pull("no-such-model")),
                     (501, lambda: client.delete(model)), (501, lambda: client.copy(model, "copy"))]:
    try:
        call()
        raise SystemExit(f"no {status}")
    except ollama.ResponseError as e:
        assert e.status_code == status and e.error, e
print("ok")
