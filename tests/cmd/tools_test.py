#!/usr/bin/env python3
"""tools_test -- tool calls and thoughts over HTTP with a real model, under the chat templates of several families: what
`required` asks for is always well-formed, whole and streamed; a thought ends when its budget does. The model's file is
written again with another template; the templates come from the golden folder, and cases that need them skip without."""
import json, os, struct, sys, tempfile
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import MODEL, ROOT, Server, Tap, need_model

SHARED = next((d for d in (os.path.join(ROOT, "..", "shared"), os.environ.get("TW_SHARED", ""))
               if d and os.path.isdir(os.path.join(d, "golden"))), None)
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Current weather of a city.", "parameters": {
    "type": "object", "properties": {"city": {"type": "string", "enum": ["Paris", "Oslo"]}, "days": {"type": "integer",
                                     "minimum": 1, "maximum": 9}}, "required": ["city", "days"]}}},
         {"type": "function", "function": {"name": "add", "description": "Adds two numbers.", "strict": True, "parameters": {
             "type": "object", "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}, "carry": {"type": "boolean"},
                                              "how": {"enum": ["fast", "slow"]}}, "required": ["a"],
             "additionalProperties": False}}}]
ASK = "What is the weather in Paris?"


def retemplate(source, target, template):
    """Copies a GGUF file with another chat template."""
    data = open(source, "rb").read()
    tensors, count = struct.unpack_from("<QQ", data, 8)
    at = 24

    def text():
        nonlocal at
        n, = struct.unpack_from("<Q", data, at)
        at += 8 + n
        return data[at - n:at].decode()

    def skip(kind):
        nonlocal at
        sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
        if kind == 8:
            text()
        elif kind == 9:
            inner, n = struct.unpack_from("<IQ", data, at)
            at += 12
            for _ in range(n):
                skip(inner)
        else:
            at += sizes[kind]
    out, seen = [], False
    for _ in range(count):
        start = at
        key = text()
        kind, = struct.unpack_from("<I", data, at)
        at += 4
        skip(kind)
        if key == "tokenizer.chat_template":
            t, k = template.encode(), key.encode()
            out.append(struct.pack("<Q", len(k)) + k + struct.pack("<IQ", 8, len(t)) + t)
            seen = True
        else:
            out.append(data[start:at])
    assert seen
    infos = at
    for _ in range(tensors):
        text()
        dims, = struct.unpack_from("<I", data, at)
        at += 4 + 8 * dims + 12
    head = data[:24] + b"".join(out) + data[infos:at]
    with open(target, "wb") as f:
        f.write(head + b"\0" * (-len(head) % 32) + data[at + (-at % 32):])


def check_call(call):
    args = json.loads(call["function"]["arguments"])
    assert call["id"] and call["type"] == "function", call
    if call["function"]["name"] == "get_weather":
        assert set(args) == {"city", "days"} and args["city"] in ("Paris", "Oslo") and 1 <= args["days"] <= 9, args
    else:
        assert call["function"]["name"] == "add" and "a" in args and set(args) <= {"a", "carry", "how"}, call
        assert 0 <= args["a"] <= 99 and args.get("carry") in (None, True, False), args
        assert args.get("how") in (None, "fast", "slow"), args


def choice_of(answer):
    assert answer[0] == 200, answer
    return answer[1]["choices"][0]


def streamed(s, **fields):
    status, text, _ = s.request("POST", "/v1/chat/completions", {
        "messages": [{"role": "user", "content": ASK}], "stream": True, **fields})
    assert status == 200, text
    calls, content, thought, why = {}, "", "", None
    for line in text.splitlines():
        if not line.startswith(b"data: {"):
            continue
        for c in json.loads(line[6:])["choices"]:
            content += c["delta"].get("content") or ""
            thought += c["delta"].get("reasoning_content") or ""
            why = c["finish_reason"] or why
            for piece in c["delta"].get("tool_calls") or []:
                call = calls.setdefault(piece["index"], {"id": "", "type": "", "function": {"name": "", "arguments": ""}})
                call["id"] += piece.get("id") or ""
                call["type"] += piece.get("type") or ""
                call["function"]["name"] += piece["function"].get("name") or ""
                call["function"]["arguments"] += piece["function"].get("arguments") or ""
    return [calls[i] for i in sorted(calls)], content, thought, why


def required(s, **more):
    for seed in range(3):
        fields = dict(tools=TOOLS, tool_choice="required", temperature=1.2, seed=seed, max_tokens=400, **more)
        fields["parallel_tool_calls"] = seed != 0
        c = choice_of(s.chat(ASK, **fields))
        calls = c["message"].get("tool_calls") or []
        if c["finish_reason"] == "length": # a model may go on calling
            calls = calls[:-1]
        else:
            assert c["finish_reason"] == "tool_calls" and calls, c
        for call in calls:
            check_call(call)
        assert len({call["id"] for call in calls}) == len(calls) and not c["message"]["content"], c
        assert seed or len(calls) == 1, c
        again, content, _, why = streamed(s, **fields)
        assert why == c["finish_reason"] and not content, (why, content)
        strip = lambda list: [(x["function"]["name"], x["function"]["arguments"]) for x in list]
        assert strip(again)[:len(calls)] == strip(calls), (again, calls)


def turns(s):
    """Results go back; the model answers in words or with another call."""
    messages = [{"role": "user", "content": ASK},
                {"role": "assistant", "content": None, "tool_calls": [{"id": "abcdefgh1", "type": "function", "function": {
                    "name": "get_weather", "arguments": '{"city": "Paris", "days": 1}'}}]},
                {"role": "tool", "tool_call_id": "abcdefgh1", "name": "get_weather", "content": "18 degrees, sunny"}]
    status, body, _ = s.post("/v1/chat/completions", {"messages": messages, "tools": TOOLS, "max_tokens": 40,
                                                      "temperature": 0})
    assert status == 200, body
    for call in body["choices"][0]["message"].get("tool_calls") or []:
        assert call["function"]["name"] in ("get_weather", "add")


tap = Tap()
need_model(tap)
s = Server().wait_ready()
with tap.case("required: well-formed calls, whole and streamed"):
    required(s)
with tap.case("named: this function and no other, once"):
    for seed in range(3):
        c = choice_of(s.chat(ASK, tools=TOOLS, temperature=1.2, seed=seed, max_tokens=200,
                             tool_choice={"type": "function", "function": {"name": "add"}}))
        calls = c["message"]["tool_calls"]
        assert len(calls) == 1 and calls[0]["function"]["name"] == "add", c
        check_call(calls[0])
with tap.case("allowed_tools narrows the choice"):
    c = choice_of(s.chat(ASK, tools=TOOLS, temperature=1.2, seed=2, max_tokens=200, parallel_tool_calls=False, tool_choice={
        "type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [
            {"type": "function", "function": {"name": "get_weather"}}]}}))
    assert c["message"]["tool_calls"][0]["function"]["name"] == "get_weather", c
with tap.case("none: text, and no call in it"):
    c = choice_of(s.chat("Say <tool_call>.", tools=TOOLS, tool_choice="none", temperature=1, seed=1, max_tokens=40))
    assert "tool_calls" not in c["message"] and "<tool_call>" not in c["message"]["content"], c
with tap.case("cut by max_tokens: length, and the arguments so far"):
    c = choice_of(s.chat(ASK, tools=TOOLS, tool_choice="required", temperature=0, max_tokens=24))
    assert c["finish_reason"] == "length", c
    for call in c["message"].get("tool_calls") or []:
        assert call["function"]["name"] in ("get_weather", "add"), c
with tap.case("results come back"):
    turns(s)
with tap.case("a form for the words, and calls beside it"):
    c = choice_of(s.chat(ASK, tools=TOOLS, temperature=1, seed=3, max_tokens=300, response_format={
        "type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ["yes", "no"]}}}))
    if c["message"].get("tool_calls"):
        check_call(c["message"]["tool_calls"][0])
    else:
        assert json.loads(c["message"]["content"]) in ("yes", "no"), c
with tap.case("a model that does not think: asked to, it says so"):
    for fields in ({"thinking_budget": 5}, {"reasoning_effort": "low"}, {"reasoning": {"max_tokens": 9}}):
        status, body, _ = s.chat("x", **fields)
        assert status == 400 and "does not think" in body["error"]["message"] or "knows nothing" in body["error"]["message"]
s.stop()

FAMILIES = os.environ.get("TW_FAMILIES", "Qwen-Qwen3-0.6B,Qwen3-Coder,mistralai-Mistral-Nemo-Instruct-2407,LFM2.5-8B-A1B").split(",")
folder = tempfile.mkdtemp()
for name in FAMILIES:
    with tap.case(f"under the template of {name}"):
        if not SHARED:
            print(f"# SKIP {name}: the golden folder is not there")
            continue
        template = json.load(open(os.path.join(SHARED, "golden", "templates", name + ".json")))["template"]
        path = os.path.join(folder, "model.gguf")
        retemplate(MODEL, path, template)
        s = Server("--state", os.path.join(folder, "state"), model=path).wait_ready()
        try:
            thinks = s.chat("x", max_tokens=1, thinking_budget=5)[0] == 200
            required(s, **({"thinking_budget": 5} if thinks else {}))
            turns(s)
            if name == "Qwen-Qwen3-0.6B":
                # the prompt opens a thought here: the budget ends it, then the answer has its form
                body = {"messages": [{"role": "user", "content": "<think>"}], "temperature": 0.7, "seed": 1, "max_tokens": 120,
                        "thinking_budget": 12, "guided_choice": ["yes", "no"], "chat_template_kwargs": {}}
                c = choice_of(s.post("/v1/chat/completions", body))
                assert c["message"]["content"] in ("yes", "no"), c
        finally:
            s.stop()
if SHARED:
    with tap.case("a thought that the prompt has opened ends when its budget does"):
        template = ("{%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.reasoning_content %}{{ '<think>\\n' + "
                    "m.reasoning_content + '\\n</think>\\n\\n' }}{% endif %}{{ m.content + '<|im_end|>\\n' }}{% endfor %}"
                    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}")
        path = os.path.join(folder, "model.gguf")
        retemplate(MODEL, path, template)
        s = Server("--state", os.path.join(folder, "state"), model=path).wait_ready()
        try:
            for budget in (0, 1, 12):
                for fields in ({"thinking_budget": budget}, {"reasoning": {"max_tokens": budget}}):
                    c = choice_of(s.chat("Why is the sky blue?", max_tokens=60, seed=1, **fields))
                    thought = c["message"].get("reasoning_content") or ""
                    assert "<" not in thought and len(thought) <= budget * 20, (budget, c)
                    assert (budget > 5) == bool(thought.strip()) or budget == 1, (budget, c)
                    assert "think>" not in c["message"]["content"], c
            calls, content, thought, why = streamed(s, max_tokens=60, seed=1, temperature=0, thinking_budget=12)
            a = choice_of(s.chat("What is the weather in Paris?", max_tokens=60, seed=1, thinking_budget=12))
            assert thought and (thought, content) == (a["message"]["reasoning_content"], a["message"]["content"]), a
            c = choice_of(s.chat("Is it?", max_tokens=90, seed=1, thinking_budget=9, guided_choice=["yes", "no"]))
            assert c["message"]["content"] in ("yes", "no") and c["message"]["reasoning_content"], c
            required(s, thinking_budget=7)
            c = choice_of(s.chat("Go on", max_tokens=8, seed=1, thinking_budget=100))
            assert c["finish_reason"] == "length" and not c["message"]["content"] and c["message"]["reasoning_content"], c
        finally:
            s.stop()
tap.done()
