"""openai_batch -- a night's batch with the official Python client: `start` makes it and prints its id, `finish ID` waits
for its end and checks every answer; exits non-zero when something is wrong."""
import io
import json
import sys
import time

import openai

LINES = 24
client = openai.OpenAI(max_retries=0)
if sys.argv[1] == "start":
    lines = [{"custom_id": f"ward-{i}", "method": "POST", "url": "/v1/chat/completions",
              "body": {"model": "default", "max_tokens": 24, "temperature": 0, "ignore_eos": True,
                       "messages": [{"role": "user", "content": f"Say the number {i}."}]}} for i in range(LINES)]
    text = "".join(json.dumps(v) + "\n" for v in lines).encode()
    file = client.files.create(file=("night.jsonl", io.BytesIO(text)), purpose="batch")
    assert file.bytes == len(text) and client.files.content(file.id).read() == text
    batch = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h",
                                  metadata={"ward": "3"})
    assert batch.status == "in_progress" and batch.request_counts.total == LINES, batch
    print(batch.id)
elif sys.argv[1] == "some":
    while client.batches.retrieve(sys.argv[2]).request_counts.completed < 3:
        time.sleep(0.05)
else:
    until = time.time() + 100
    while (batch := client.batches.retrieve(sys.argv[2])).status == "in_progress" and time.time() < until:
        time.sleep(0.1)
    assert batch.status == "completed" and batch.error_file_id is None, batch
    answers = [json.loads(v) for v in client.files.content(batch.output_file_id).text.splitlines()]
    assert sorted(a["custom_id"] for a in answers) == sorted(f"ward-{i}" for i in range(LINES)), answers
    for a in answers:
        body = a["response"]["body"]
        assert a["error"] is None and a["response"]["status_code"] == 200, a
        assert body["usage"]["completion_tokens"] == 24 and body["choices"][0]["message"]["content"], body
    assert [b.id for b in client.batches.list()] == [batch.id]
    stopped = client.batches.cancel(batch.id)
    assert stopped.status == "completed", stopped  # too late
    assert client.files.delete(batch.output_file_id).deleted
    try:
        client.files.retrieve(batch.output_file_id)
        raise AssertionError("it was deleted")
    except openai.NotFoundError:
        pass
