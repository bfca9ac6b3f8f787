#!/usr/bin/env python3
"""structured_test -- answers that must have a form, over HTTP with a real model: schema, object, regex, choice, GBNF."""
import json, os, re, sys
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from server import Server, Tap, need_model

tap = Tap()
need_model(tap)
s = Server().wait_ready()
SCHEMA = {"type": "object", "additionalProperties": False, "required": ["name", "age", "tags"],
          "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
                         "tags": {"type": "array", "items": {"enum": ["tall", "short", "kind"]}, "maxItems": 3}}}


def content(answer):
    assert answer[0] == 200, answer
    return answer[1]["choices"][0]


with tap.case("a JSON schema holds at every temperature"):
    for seed in range(6):
        c = content(s.chat("Invent a person.", max_tokens=200, temperature=1.5, seed=seed, response_format={
            "type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA}}))
        assert c["finish_reason"] == "stop", c
        v = json.loads(c["message"]["content"])
        assert set(v) == {"name", "age", "tags"} and len(v["name"]) <= 20 and 0 <= v["age"] <= 150, v
        assert len(v["tags"]) <= 3 and set(v["tags"]) <= {"tall", "short", "kind"}, v

with tap.case("json_object is an object"):
    c = content(s.chat("Describe the sea as JSON.", max_tokens=300, temperature=0.8, seed=3,
                       response_format={"type": "json_object"}))
    if c["finish_reason"] == "stop":
        assert isinstance(json.loads(c["message"]["content"]), dict)
    else:
        assert c["finish_reason"] == "length" and c["message"]["content"].lstrip().startswith("{")

with tap.case("regex, choice and GBNF"):
    c = content(s.chat("When?", temperature=1, seed=1, guided_regex="(19|20)[0-9]{2}-(0[1-9]|1[0-2])-[0-3][0-9]"))
    assert re.fullmatch("(19|20)[0-9]{2}-(0[1-9]|1[0-2])-[0-3][0-9]", c["message"]["content"]), c
    for seed in range(4):
        c = content(s.chat("Is the sky blue?", temperature=2, seed=seed, guided_choice=["yes", "no", "perhaps"]))
        assert c["message"]["content"] in ("yes", "no", "perhaps") and c["finish_reason"] == "stop", c
    c = content(s.chat("Add.", temperature=1, seed=2, max_tokens=60,
                       guided_grammar='root ::= num " + " num " = " num\nnum ::= [0-9] [0-9]?'))
    assert re.fullmatch(r"\d\d? \+ \d\d? = \d\d?", c["message"]["content"]), c

with tap.case("the same form in a stream, and for each of n choices"):
    status, text, _ = s.request("POST", "/v1/chat/completions", {
        "messages": [{"role": "user", "content": "Yes or no?"}], "stream": True, "n": 3, "temperature": 2, "seed": 4,
        "guided_choice": ["yes", "no"]})
    got = ["", "", ""]
    for line in text.splitlines():
        if line.startswith(b"data: {"):
            for c in json.loads(line[6:])["choices"]:
                got[c["index"]] += c["delta"].get("content") or ""
    assert status == 200 and set(got) <= {"yes", "no"}, got

with tap.case("what cannot be enforced is refused with its keyword and path"):
    for fields, word in [({"guided_regex": "(a"}, "guided_regex"), ({"guided_json": {"type": "nonsense"}}, "type"),
                         ({"guided_choice": []}, "guided_choice"), ({"guided_grammar": "root ::= nope"}, "not define"),
                         ({"response_format": {"type": "yaml"}}, "yaml"),
                         ({"guided_choice": ["a"], "stop": ["b"]}, "stop"),
                         ({"guided_json": {"$ref": "http://example.com/x"}}, "ref")]:
        status, body, _ = s.chat("x", **fields)
        assert status == 400 and word in body["error"]["message"], (fields, status, body)
s.stop()
tap.done()
