#!/usr/bin/env python3
"""Makes tests/text/schema_cases.json: our own schemas and instances, judged by the jsonschema package.

    pip install jsonschema==4.26 && tests/text/schema_cases.py > tests/text/schema_cases.json

A case is {s: schema, yes: [instances], no: [instances]}. Formats are checked where jsonschema can."""
import json
import sys

import jsonschema

V = [None, True, False, 0, 1, -1, 2, 5, 10, 12, 100, 1.5, -2.25, 0.1, 99.99, 1000000, "", "a", "ab", "abc", "b", "A1", "é", "日本", "a\"b\\c\n",
     "x" * 20, [], [1], [1, 2], [1, "a"], ["a", "b"], ["a", "a"], [1, 2, 3, 4], [[1]], {}, {"a": 1}, {"b": 1}, {"a": "x"}, {"a": 1, "b": 2},
     {"b": 2, "a": 1}, {"a": 1, "c": 3}, {"x1": 1}, {"x1": "s", "a": 1}, {"a": {"a": {"a": 1}}}, {"a": None}, {"kind": "p", "v": 1}, {"kind": "q", "v": "s"},
     {"kind": "q", "v": 1}, {"a": 1, "b": 2, "c": 3}]

SCHEMAS = [
    True, {}, {"type": "null"}, {"type": "boolean"}, {"type": "integer"}, {"type": "number"}, {"type": "string"}, {"type": "array"}, {"type": "object"},
    {"type": ["string", "null"]}, {"type": ["integer", "array"]}, {"enum": [1, "a", None, [1], {"a": 1}]}, {"const": "abc"}, {"const": {"a": 1, "b": 2}}, {"const": 1.5},
    {"minimum": 1}, {"maximum": 10}, {"exclusiveMinimum": 1, "exclusiveMaximum": 100}, {"minimum": -2.5, "maximum": -0.5}, {"minimum": 0.1, "maximum": 99.99},
    {"type": "integer", "minimum": 2, "maximum": 12}, {"type": "integer", "exclusiveMinimum": -1, "maximum": 5}, {"multipleOf": 5}, {"multipleOf": 0.5}, {"type": "integer", "multipleOf": 10},
    {"minLength": 2}, {"maxLength": 2}, {"minLength": 1, "maxLength": 3}, {"pattern": "^a"}, {"pattern": "b$"}, {"pattern": "[0-9]"}, {"pattern": "^(a|b)+$", "minLength": 2}, {"type": "string", "pattern": "^[^a]*$"},
    {"type": "string", "pattern": "^(?!ab)"}, {"type": "string", "pattern": "^[a-zA-Z0-9_]{1,2}$"},
    {"items": {"type": "integer"}}, {"prefixItems": [{"type": "integer"}, {"type": "string"}]}, {"prefixItems": [{"type": "integer"}], "items": False}, {"minItems": 1, "maxItems": 2}, {"contains": {"const": 1}}, {"contains": {"type": "string"}, "minContains": 2},
    {"contains": {"type": "integer"}, "maxContains": 2}, {"items": {"enum": ["a", "b"]}, "uniqueItems": True},
    {"properties": {"a": {"type": "integer"}}}, {"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"required": ["a", "b"]}, {"properties": {"a": {}}, "additionalProperties": False}, {"additionalProperties": {"type": "integer"}},
    {"patternProperties": {"^x": {"type": "integer"}}}, {"properties": {"a": {}}, "patternProperties": {"^x": {"type": "string"}}, "additionalProperties": False}, {"propertyNames": {"pattern": "^[ab]$"}}, {"propertyNames": {"maxLength": 1}, "minProperties": 0},
    {"minProperties": 1}, {"maxProperties": 1}, {"minProperties": 2, "maxProperties": 2}, {"properties": {"a": {}, "b": {}}, "additionalProperties": False, "minProperties": 2}, {"dependentRequired": {"a": ["b"]}}, {"dependentSchemas": {"a": {"required": ["b"]}}},
    {"anyOf": [{"type": "string", "maxLength": 1}, {"type": "integer", "minimum": 5}]}, {"oneOf": [{"type": "integer"}, {"minimum": 2}]}, {"oneOf": [{"type": "string"}, {"type": "integer"}]},
    {"oneOf": [{"properties": {"kind": {"const": "p"}, "v": {"type": "integer"}}, "required": ["kind"]}, {"properties": {"kind": {"const": "q"}, "v": {"type": "string"}}, "required": ["kind"]}]},
    {"allOf": [{"properties": {"a": {"type": "integer"}}}, {"properties": {"b": {"type": "integer"}}, "required": ["b"]}]}, {"allOf": [{"minimum": 1}, {"maximum": 5}]}, {"allOf": [{"pattern": "a"}, {"pattern": "b"}]},
    {"not": {"type": "string"}}, {"not": {"enum": ["a", 1]}}, {"not": {"required": ["a"]}}, {"not": {"properties": {"a": {"type": "integer"}}, "required": ["a"]}}, {"type": "string", "not": {"pattern": "^a"}}, {"not": {"minimum": 2}}, {"not": {"anyOf": [{"type": "object"}, {"type": "array"}]}}, {"not": {"items": {"type": "integer"}}},
    {"not": {"properties": {"a": {}}, "additionalProperties": False}}, {"oneOf": [{"properties": {"a": {}}, "additionalProperties": False}, {"required": ["b"]}]}, {"not": {"oneOf": [{"type": "integer"}, {"minimum": 2}]}},
    {"if": {"type": "integer"}, "then": {"minimum": 2}, "else": {"type": "string"}}, {"if": {"required": ["a"]}, "then": {"required": ["b"]}},
    {"$ref": "#/$defs/t", "$defs": {"t": {"type": "object", "properties": {"a": {"anyOf": [{"$ref": "#/$defs/t"}, {"type": "integer"}]}}, "additionalProperties": False}}},
    {"$defs": {"n": {"type": ["array", "integer"], "items": {"$ref": "#/$defs/n"}}}, "$ref": "#/$defs/n"}, {"$defs": {"x": {"$anchor": "here", "type": "integer"}}, "$ref": "#here"}, {"type": "array", "uniqueItems": True, "items": {"type": "string"}},
    {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a"], "maxProperties": 2},
]

FORMATS = {
    "date": (["2026-01-02", "2024-02-29"], ["2026-13-01", "2023-02-29", "x", ""]), "date-time": (["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.123+01:00"], ["2026-01-02", "2026-01-02T25:00:00Z"]),
    "ipv4": (["1.2.3.4", "255.255.255.255"], ["256.1.1.1", "1.2.3", "01.2.3.4"]), "ipv6": (["::1", "2001:db8::8a2e:370:7334", "::ffff:1.2.3.4"], ["1::2::3", "12345::", "x"]), "uuid": (["2eb8aa08-aa98-11ea-b4aa-73b441d16380"], ["2eb8aa08aa9811eab4aa73b441d16380"]),
    "email": (["joe@example.com", "a.b+c@x.org"], ["joe", "@x", "a b@c"]), "hostname": (["example.com", "a-b.c"], ["-a.com", "a_b", ""]), "uri": (["http://a.b/c?d=e#f", "urn:x:y"], ["/relative", "a b", "//x"]), "time": (["03:04:05Z"], ["3:04:05Z", "24:00:00Z"]),
    "json-pointer": (["", "/a/b~0c"], ["a", "/~2"]), "duration": (["P1Y2M3D", "PT1H", "P2W"], ["P", "1D", "PT"]),
}


def main():
    cases = []
    for s in SCHEMAS:
        validator = jsonschema.Draft202012Validator(s)
        yes = [v for v in V if validator.is_valid(v)]
        cases.append({"s": s, "yes": yes, "no": [v for v in V if not validator.is_valid(v)]})
    for name, (yes, no) in FORMATS.items():  # judged by the RFCs themselves
        cases.append({"s": {"type": "string", "format": name}, "yes": yes, "no": no})
    json.dump(cases, sys.stdout, ensure_ascii=False)
    print()


main()
