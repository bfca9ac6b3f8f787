#!/usr/bin/env python3
"""Makes tests/text/jinja_cases.json: our own templates with what Python's Jinja2 3.1 renders for them.

    pip install jinja2==3.1.6 && tests/text/jinja_cases.py > tests/text/jinja_cases.json

The environment is the one Hugging Face's apply_chat_template builds. A case is {t: template, c: context,
e: text} or, where Python raises, {t, c, x: exception}. template_test.c renders each and compares bytes."""
import datetime
import json
import sys

import jinja2.ext
import jinja2.sandbox


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


NOW = datetime.datetime(2026, 1, 2, 3, 4, 5)
env = jinja2.sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
env.filters["tojson"] = tojson
env.globals["raise_exception"] = raise_exception
env.globals["strftime_now"] = lambda f: NOW.strftime(f)

CONTEXT = {
    "s": "Hello, World", "u": "straße ÅÉ 日本語 😀", "e": "", "n": 42, "neg": -7, "f": 2.5, "big": 1e22, "tiny": 1.5e-7,
    "t": True, "no": False, "nil": None, "l": [3, 1, 2], "words": ["banana", "Apple", "cherry", "apple"],
    "d": {"b": 1, "a": [1, {"x": None}], "items": 3, "C": "c"}, "nest": [{"k": "x", "v": 1}, {"k": "y", "v": 2}, {"k": "x"}],
    "ml": "one\n  two\n\nthree\n", "quote": "it's \"q\" \\ \t\n", "msgs": [
        {"role": "system", "content": "S"}, {"role": "user", "content": "U1"},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1, "b": "é"}}}]},
        {"role": "tool", "content": "T"}, {"role": "user", "content": [{"type": "text", "text": "hi"}, {"type": "image"}]}],
    "tree": [{"n": "a", "c": [{"n": "b", "c": []}, {"n": "c", "c": [{"n": "d", "c": []}]}]}],
    "m": {1: "never"} and {"one": 1, "two": 2}, "ctl": "\u0001\u007f\u0080\u200b\u2028", "sp": " \t x \u00a0\u3000",
}

EXPRESSIONS = """
1 + 2 * 3 ** 2
2 ** 3 ** 2
-2 ** 2
- n | abs
7 // 2 ~ ' ' ~ (-7) // 2 ~ ' ' ~ 7 % 3 ~ ' ' ~ -7 % 3 ~ ' ' ~ 7 % -3
7 / 2
6 / 2
7.5 // 2
-7.5 % 2
7.5 % -2
1e3
1E-5
1_000
0x1f + 0o17 + 0b11
1.0
0.1 + 0.2
1e16
1e15
123456789012345680.0
big
tiny
1e22 * 10
100000000000000000000.0
-0.0
f * 2
n / 0
n // 0
n % 0
1.5 % 0
2 ** -1
2 ** 0.5
true + true
'a' 'b' "c"
'a' * 3
3 * 'ab'
'a' * -1
[1, 2] * 2
[1] + [2]
(1,) + (2, 3)
[1] + (2,)
'a' + 1
1 + 'a'
'a' ~ 1 ~ none ~ true ~ 1.0 ~ [1]
s[0] ~ s[-1] ~ s[99]
s[2:5] ~ '|' ~ s[:-3] ~ '|' ~ s[::-1] ~ '|' ~ s[::2] ~ '|' ~ s[5:2:-1] ~ '|' ~ s[-100:100]
u[::-1]
u[7:10]
u[3]
u | length
u | upper
u | lower
u | title
u | capitalize
u.title()
u.swapcase()
u.casefold()
"ǆ ÿ".upper()
l[0] ~ l[-1]
l[10]
l[10] is defined
l[1:]
l[::-1]
l['x'] is defined
l.0
nest[0].k
nest.1.v
d.a
d['a'][1]['x']
d.items
d['items']
d.items()
d['zz'] is defined
d.zz
d.zz.y
zz
zz.y
zz()
zz + 1
zz ~ 'x'
zz | default('dd')
zz | default
e | default('x', true)
e | default('x')
none | default('x')
nil | d('y', boolean=true)
zz is undefined
zz | length
zz | list
zz | join(',')
not zz
zz == zz2
zz in [1]
1 in zz
zz | string
zz | upper
zz | tojson
zz > 1
-zz
[zz]
t and n
no or 'x'
t and no or e or 'z'
not t
not not t
1 if t else 2
1 if no
(1 if no) is defined
1 if no else 2 if no else 3
1 < 2 < 3
1 < 2 > 5
1 == 1.0
1 == true
'1' == 1
'a' < 'b'
[1, 2] < [1, 3]
1 < 'a'
none < 1
n != 42
'ell' in s
'x' not in s
3 in l
'b' in d
none in [none]
1 in 'abc'
'a' in 5
n is number and n is integer and n is not float
f is float
t is number
t is integer
t is boolean
t is true
no is false
1 is true
nil is none
s is string
l is iterable
n is iterable
d is mapping
l is mapping
l is sequence
d is sequence
s is sequence
n is sequence
d.keys() is sequence
d.keys() is iterable
(l | map('string')) is sequence
4 is even
5 is odd
9 is divisibleby 3
9 is divisibleby(4)
'abc' is lower
'ABC' is upper
'Abc' is lower
'' is lower
l is sameas l
n is sameas 42
none is sameas none
n is eq 42
n is ne 42
n is gt 41
n is ge 42
n is lt 42
n is le 42
n is equalto 42
n is in [42]
s is in 'Hello, World!'
range is callable
s is callable
d.get is callable
'upper' is filter
'nope' is filter
'even' is test
s is escaped
(s | safe) is escaped
s is not string
s is defined and zz is not defined
l | length
l | count
l | first
l | last
[] | first
[] | first is defined
[] | last
s | first
s | last
l | sort
l | sort(reverse=true)
words | sort
words | sort(case_sensitive=true)
words | unique | list
words | unique(case_sensitive=true) | list
nest | sort(attribute='k') | map(attribute='k') | list
nest | sort(attribute='v')
nest | selectattr('v', 'defined') | sort(attribute='k,v', reverse=true) | list
nest | groupby('k') | list
nest | groupby('v', default=0)
l | min
l | max
[] | min
words | min
words | max(case_sensitive=true)
nest | map(attribute='k') | max
l | sum
nest | selectattr('v', 'defined') | sum(attribute='v')
l | sum(start=10)
[0.1] * 3 | sum
([0.1] * 3) | sum
[[1], [2]] | sum(start=[])
l | join
l | join('-')
l | join(', ', attribute='real')
nest | join('|', attribute='k')
['a', 1, none] | join('/')
l | reverse | list
s | reverse
l | list | reverse | first
d | list
s | list
d | length
d | items | list
d | dictsort
d | dictsort(true)
d | dictsort(reverse=true)
{'b': 2, 'a': 1} | dictsort(by='value')
d.items() | list
d.keys() | list
d.values() | list
d.keys()
{'a': 1}.values()
d | first
nest | map(attribute='v', default=0) | list
nest | map(attribute='v') | list
nest | map('length') | list
words | map('upper') | join(',')
words | map('replace', 'a', 'A') | list
l | map('string') | list
[1.5, 2.5] | map('round') | list
l | select('odd') | list
l | reject('odd') | list
[0, 1, '', 'x', none] | select | list
[0, 1, '', 'x', none] | reject | list
l | select('greaterthan', 1) | list
l | select('in', [1, 2]) | list
msgs | selectattr('role', 'equalto', 'user') | list | length
msgs | selectattr('role', '==', 'user') | map(attribute='role') | list
msgs | rejectattr('role', 'in', ['user', 'tool']) | map(attribute='role') | list
msgs | selectattr('tool_calls') | list | length
msgs | selectattr('tool_calls', 'defined') | first
msgs | map(attribute='role') | unique | list
msgs | map(attribute='tool_calls.0.function.name') | list
msgs[2].tool_calls[0].function.arguments | tojson
l | map('nope') | list
l | select('nope') | list
zz | map('upper') | list
(l | map('string'))
l | map('string') | length
l | map('string') | tojson
l | batch(2) | list
l | batch(2, 'x') | list
l | slice(2) | list
l | slice(2, 'x') | list
range(5) | list
range(1, 10, 3) | list
range(5, 0, -2) | list
range(5)
range(0, 6, 2)
range(3) | length
range(10)[3]
range(10)[2:5]
range(3) == range(3)
range(0)
range(200000)
range(1, 2, 0)
n | string
n | string + 'x'
'42' | int
'42.7' | int
' 42 ' | int
'x' | int
'x' | int(7)
'0x1f' | int(base=16)
'1f' | int(0, 16)
'101' | int(base=2)
'1_000' | int
'-5' | int
'+5' | int
'1e3' | int
'' | int
none | int
[] | int(3)
2.9 | int
-2.9 | int
t | int
'nan' | int
'inf' | int(5)
'3.14' | float
'x' | float
'x' | float(1.5)
'1e400' | float
' 2 ' | float
n | float
none | float
'.5' | float
'5.' | float
'1_0.5' | float
'infinity' | float
'0x10' | float
42.55 | round
42.55 | round(1)
42.45 | round(1)
2.5 | round
3.5 | round
-2.5 | round
42.55 | round(1, 'floor')
42.55 | round(1, 'ceil')
42 | round
42 | round(1)
1234 | round(-2)
1250 | round(-2)
1350 | round(-2)
1234.5 | round(-2)
2.675 | round(2)
1e300 | round(2)
42.5 | round(method='floor')
42 | round(0, 'ceil')
42 | round(2, 'nope')
-5 | abs
-5.5 | abs
'x' | abs
' x ' | trim
'xxaxx' | trim('x')
sp | trim
n | trim
s | replace('l', 'L')
s | replace('l', 'L', 1)
s | replace('', '-')
s | replace('o', '')
n | replace(4, 5)
s | center(20)
s | wordcount
u | wordcount
s | truncate(8)
s | truncate(8, true)
s | truncate(7, false, '!', 0)
'foo bar baz qux' | truncate(9)
'foo bar baz qux' | truncate(11)
'foo bar baz qux' | truncate(11, false, '...', 0)
ml | indent
ml | indent(2)
ml | indent(2, true)
ml | indent(2, true, true)
ml | indent('> ')
ml | indent(width=1, first=true)
'' | indent(2, true)
'a' | indent
'a\\n' | indent
n | indent
'<a href="x">\\'&' | escape
'<a>' | e
('<a>' | safe) + '<b>'
'<b>' + ('<a>' | safe)
('<a>' | safe) ~ '<b>'
('<a>' | safe) | escape
('<a>' | safe) | upper
'<a>' | forceescape
('<a>' | safe)
[('<a>' | safe)]
'%s and %d' | format('x', 3)
'%(a)s' | format(a=1)
'%s' | format(l)
'%s %s' | format(1)
'%s' % 'x'
'%s' % [1]
'%s %s' % (1, 'b')
'%d%%' % 5
'%5d|%-5d|%05d|%+d|% d' % (1, 2, 3, 4, 5)
'%.2f|%8.3f|%e|%g|%G' % (1.005, 3.14159, 12345.678, 0.00001, 1e20)
'%x %X %o %#x %#o' % (255, 255, 8, 255, 8)
'%r %s' % ('a', 'a')
'%c%c' % ('a', 98)
'%.3s|%10s|%-10s|' % ('abcdef', 'r', 'l')
'%*d' % (5, 3)
'%(k)s-%(v)d' % nest[0]
'%d' % 'x'
'%d' % 3.9
'%s'
'%' % 1
'%s' % (1, 2)
'%i %u' % (1, 2)
'{} {}'.format(1, 'a')
'{0} {1} {0}'.format('a', 'b')
'{x} {y}'.format(x=1, y=2)
'{:>5}|{:<5}|{:^5}|{:*^7}'.format(1, 2, 3, 4)
'{:05d} {:+d} {:,} {:_}'.format(42, 42, 1234567, 1234567)
'{:.2f} {:10.3e} {:g} {:%}'.format(3.14159, 12345.6789, 0.0001, 0.256)
'{:x} {:X} {:#x} {:b} {:#b} {:o}'.format(255, 255, 255, 5, 5, 8)
'{:.3} {:10} {!r:>6} {!s}'.format('abcdef', 'ab', 'a', 'z')
'{0[k]} {0[v]}'.format(nest[0])
'{{}} {{{}}}'.format(1)
'{:{}}|'.format('a', 5)
'{'.format(1)
'{} {}'.format(1)
'{:,.2f}'.format(1234567.891)
'{:.3}'.format(3.14159)
'{}'.format(none)
'{:5}|'.format(true)
'{}'.format([1, 'a'])
'{:>10}'.format([1])
s.upper() ~ s.lower()
s.split()
s.split(',')
s.split(', ')
s.split('l', 1)
s.split(maxsplit=1)
s.rsplit('o', 1)
'a  b   c'.split(' ')
' a b  c '.split()
' a b  c '.split(none, 1)
' a b  c '.rsplit(none, 1)
''.split()
''.split(',')
s.split('')
'a,b,c'.rsplit(',')
'a,b,c'.rsplit(',', maxsplit=1)
ml.splitlines()
ml.splitlines(true)
'a\\r\\nb\\rc'.splitlines()
s.strip('Hd')
'  x '.lstrip() ~ '|'
'  x '.rstrip() ~ '|'
'xyxabxy'.strip('xy')
u.strip('😀s')
s.startswith('Hello')
s.startswith(('x', 'H'))
s.startswith('World', 7)
s.endswith('d')
s.endswith(('x', 'ld'))
s.find('o')
s.find('o', 5)
s.find('zz')
u.find('語')
s.rfind('o')
s.index('W')
s.index('zz')
s.count('l')
s.count('')
s.replace('World', 'X')
s.replace('l', 'L', 2)
s.replace('', '-', 3)
'aaa'.replace('aa', 'b')
'-'.join(['a', 'b'])
'-'.join('abc')
'-'.join([1])
s.partition(', ')
s.rpartition('o')
s.partition('zz')
s.removeprefix('Hello')
s.removesuffix('World')
'abc'.center(8) ~ '|'
'abcd'.center(7) ~ '|'
'abc'.ljust(5, '.') ~ 'abc'.rjust(5, '.')
'-42'.zfill(6)
'a\\tb'.expandtabs(4)
'abc'.isalpha() ~ 'a1'.isalpha() ~ '12'.isdigit() ~ 'a1'.isalnum() ~ ' '.isspace() ~ ''.isspace()
'Abc'.istitle() ~ 'ABC'.isupper() ~ 'abc'.islower() ~ 'a b'.isidentifier() ~ 'a_b'.isidentifier()
'1'.isnumeric() ~ '1'.isdecimal()
'hello world-foo bar_baz'.title()
'hello world-foo (bar)' | title
"they're" | title
"they're".title()
'hELLO'.capitalize()
s.nope()
s.nope
l.append(1)
l.append
l.append is defined
l.count(1)
l.index(2)
l.index(9)
d.get('b')
d.get('zz')
d.get('zz', 5)
d.get()
d.pop('b')
d.update({})
d.copy() == d
d.__class__
s.__len__
(1, 2).count(1)
f.is_integer()
d
l
nest
msgs[2]
quote
[quote]
[s, u, ctl]
{'a': none, 'b': true, 1: 2.0, (1, 2): 'x'}
(1,)
()
(1, 2)
[[], {}, '', ()]
d | tojson
d | tojson(indent=2)
l | tojson(indent=4)
[] | tojson(indent=2)
{} | tojson(indent=2)
[[]] | tojson(indent=1)
d | tojson(separators=(',', ':'))
d | tojson(sort_keys=true)
d | tojson(indent=2, sort_keys=true, separators=(', ', ' = '))
u | tojson
u | tojson(ensure_ascii=true)
quote | tojson
ctl | tojson
ctl | tojson(ensure_ascii=true)
'</script>&<>' | tojson
none | tojson
1.0 | tojson
1e22 | tojson
true | tojson
{1: 2, none: 3, true: 4, 1.5: 6} | tojson
{(1, 2): 3} | tojson
(1, 2) | tojson
{'a': range(2)} | tojson
d.items() | tojson
namespace() | tojson
d | tojson(indent='\\t')
d | tojson(true)
'a b/c?d=é' | urlencode
{'a b': 'c&d', 'x': 1} | urlencode
1000 | filesizeformat
1234567 | filesizeformat
1234567 | filesizeformat(true)
1 | filesizeformat
strftime_now('%Y-%m-%d')
strftime_now('%d %b %Y %H:%M:%S %A %B %j %p %I %y %%')
raise_exception('stop: ' ~ n)
dict(a=1, b=2)
dict({'x': 1}, y=2)
dict([('a', 1)])
namespace(a=1).a
namespace(a=1)['a']
namespace(a=1).b is defined
joiner(',')
'a' if 'x' in d else 'b'
d is mapping and 'b' in d and d.b is number
(n, s)[1]
[n, s][0]
{'k': n}['k']
{'k': n}.k
n.real
true is true is true
n is divisibleby 2 and t
s | upper | lower | title | length
(s | length) - 1
s | length - 1
[1, 2, 3] | last * 2
'x' ~ n + 1
1 ~ 2 + 3
1 + 2 ~ 3
not n == 42
not (n == 42)
n is not none and n > 1
s[:n]
s[:none]
s['a':]
nil[1:]
zz[1:]
n[1:]
none.x
none['x']
n.x.y
'\\x41\\u00e9\\U0001F600\\101\\n\\q\\\\'
"a\\
b"
'é\\é'
s.split(',')[0].strip().lower()[::-1] | upper
msgs[-1].content | map(attribute='text') | select('string') | join
msgs[-1].content | selectattr('type', 'eq', 'text') | map(attribute='text') | join('')
msgs | map('attr', 'role') | list
msgs[0] | attr('role')
s | attr('upper')
words | map('first') | list
words | join(', ') | upper
nope(1)
s | nope
1 if t else (s | nope)
s is nope
(s is nope) if no else 3
[1, 2, 3,]
{'a': 1,}
dict(a=1,)
loop
loop is defined
caller is defined
(d.items() | list)[0][1]
d.items()[0]
l | sort | first
[[2, 'b'], [1, 'a']] | sort
[1, 'a'] | sort
{'b': 1, 'a': 2} | sort
'banana' | sort
'hello' | unique | join
5 | list
5 | join
5 | first
5 | length
none | length
none | list
none | upper
true | upper
[1, none] | join
[1.0, 2] | sum
['a'] | sum
words | first | first
1 is string
1.5 is integer
'é' is lower
d['a'][0:1]
d[none]
d[[1]]
[1][true]
[1, 2][no]
s[1.0]
l[1.5]
""".strip("\n").split("\n")

TEMPLATES = [
    # whitespace control
    "a\n{% if true %}\nb\n{% endif %}\nc\n", "a\n  {% if true %}  \n  b\n  {% endif %}\nc\n\n", "  {%- if true -%}  x  {%- endif -%}  y",
    "a {{- ' b ' -}} c", "a\n{{ 'x' }}\nb\n", "a\n\n{#- c -#}\n\nb", "a\n{# c #}\nb", "a\n  {# c #}\n  b", "x {% if true +%}\ny{% endif %}",
    "   {%+ if true %}x{% endif %}", "{% raw %}{{ x }}{% if %}{% endraw %}", "a\n  {% raw -%}\n  {{ x }}\n  {%- endraw %}\nb", "a\n  {% raw %}\n  {{ x }}\n  {% endraw %}\nb",
    "a\r\nb\rc\n", "\n\n", "\n", "", "a\n", "a\n\n", "{{ 'a' }}\n", "{% if true %}a{% endif %}\n\n", "\t{% if true %}\n\tx\n\t{% endif %}\n",
    "a {% if true %} b {% endif %} c\n{% if false %}\n{% endif %}\nz", "{{ '}}' }}{{ '%}' }}", "{{ {'a': {'b': 1}} }}", "{{ {'a': {'b': 1}}.a.b}}",
    "{%if true%}x{%endif%}", "{{1}}{{2}}", "{ {x} }", "{%- set x = 1 %}\n  {{- x }}\n", "x\u00a0{%- if true %}y{% endif %}", "a {#- x #} b {# y -#} c",
    "  {{ 1 }}\n  {% set x = 1 %}\n  {{ x }}", "{% set x = '\\n' %}{{ x }}|", "a\n   \n  {% if true %}\nb{% endif %}", "{{ 1 -}}\n\n {{- 2 }}", "#}", "}} %}", "{{ '{{' }}{# {{ #}",
    # loops
    "{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}|{% endfor %}",
    "{% for i in l %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }} {% endfor %}", "{% for i in [] %}x{% else %}none{% endfor %}", "{% for i in zz %}x{% else %}none{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for c in u %}{{ c }}.{% endfor %}", "{% for a, b in [[1, 2], (3, 4)] %}{{ a + b }} {% endfor %}",
    "{% for a, (b, c) in [[1, [2, 3]]] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for a, b in [[1]] %}{% endfor %}", "{% for a, b in [[1, 2, 3]] %}{% endfor %}", "{% for a in 5 %}{% endfor %}", "{% for i in none %}{% endfor %}",
    "{% for i in l if i > 1 %}{{ i }}{{ loop.index }}/{{ loop.length }}{{ loop.last }} {% endfor %}", "{% for i in l if i > 9 %}x{% else %}no{% endfor %}", "{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for x in [1] %}{% break %}{% else %}E{% endfor %}", "{% for x in [1] %}{% continue %}{% else %}E{% endfor %}", "{% for x in [1, 2] %}{% if x == 2 %}{% break %}{% endif %}a{% else %}E{% endfor %}",
    "{% for n in tree recursive %}{{ n.n }}{{ loop.depth }}{{ loop.depth0 }}{% if n.c %}[{{ loop(n.c) }}]{% endif %}{% endfor %}", "{% for i in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for i in [1, 1, 2] %}{{ loop.changed(i) }}{% endfor %}",
    "{% for i in l %}{% for j in l %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}", "{% for i in l %}{% set o = loop %}{% for j in [1] %}{{ o.index }}{% endfor %}{% endfor %}", "{% for i in l %}{{ loop }}{% endfor %}",
    "{% set x = 1 %}{% for i in l %}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}", "{% for i in l %}{% set y = i %}{% endfor %}{{ y is defined }}", "{% set ns = namespace(x=0) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}", "{% set ns = namespace() %}{% set ns.a, b = 1, 2 %}{{ ns.a }}{{ b }}",
    "{% set d.x = 1 %}", "{% for i in l %}{% if loop.first %}{% set q = 5 %}{% endif %}{{ q }}{% endfor %}", "{% for i in l|sort %}{{ i }}{{ ', ' if not loop.last }}{% endfor %}", "{% for loop in l %}{% endfor %}", "{% for m in msgs %}{{ loop.index0 % 2 == 0 }} {% endfor %}",
    "{% set g = l | map('string') %}{{ g | list }}{{ g | list }}", "{% set g = d.items() %}{{ g | list }}{{ g | list }}", "{% set ns = namespace(s=false) %}{% for i in l if not ns.s %}{% set ns.s = true %}{{ i }}{% endfor %}", "{% for i in l | select('odd') %}{{ loop.length }}{{ loop.last }}{% endfor %}",
    "{% for i in l %}{% else %}{% endfor %}{% break %}", "{% for item in d.items() %}{{ item }}{{ item[0] }}{% endfor %}", "{% for i in 'abc' %}{{ loop.revindex }}{% endfor %}", "{% for i in range(3) recursive %}{{ loop.index }}{% endfor %}", "{% for i in l %}{{ i }}{% if loop.nextitem is defined %},{% endif %}{% endfor %}",
    # conditions, set, with, scopes
    "{% if no %}a{% elif n == 42 %}b{% else %}c{% endif %}", "{% if zz %}a{% elif zz %}b{% else %}c{% endif %}", "{% set x, y = 1, 2 %}{{ x }}{{ y }}", "{% set x = 1, 2 %}{{ x }}", "{% set x %}a{{ n }}b{% endset %}{{ x }}|{{ x | length }}", "{% set x | upper | replace('A', 'z') %}a{{ n }}b{% endset %}{{ x }}",
    "{% if true %}{% set x = 5 %}{% endif %}{{ x }}", "{% with a = 1, b = 2 %}{{ a + b }}{% set c = 3 %}{% endwith %}{{ a is defined }}{{ c is defined }}", "{% with %}{% set a = 1 %}{{ a }}{% endwith %}", "{% filter upper %}abc{{ s }}{% endfilter %}", "{% filter replace('a', 'b') | upper %}banana{% endfilter %}", "{% set x = 1 %}{% filter trim %}{% set x = 2 %} {{ x }} {% endfilter %}{{ x }}",
    "{{ x }}{% set x = 3 %}{{ x }}", "{% set x = x | default(7) %}{{ x }}", "{% set a = [1] %}{% set b = a + [2] %}{{ a }}{{ b }}", "{% set n = n + 1 %}{{ n }}", "{% print 1, 'a' %}", "{% set x = {'a': 1} %}{% set x = dict(x, b=2) %}{{ x }}", "{% generation %}a{{ n }}{% endgeneration %}b", "{% set true = 1 %}", "{% set x = %}", "{% set 1 = 2 %}",
    # macros
    "{% macro m(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(1, c='z') }} {{ m(a=5) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m() }}|{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=1) }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, a=3) }}", "{% macro m(a) %}{{ a is defined }}{{ a }}{% endmacro %}{{ m() }}",
    "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}x{{ n }}{% endcall %}", "{% macro m() %}[{{ caller(5) }}]{% endmacro %}{% call(v) m() %}x{{ v }}{% endcall %}", "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}", "{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}", "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
    "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}", "{% macro m() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ m() }}", "{% for i in l %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}", "{% macro m(x) %}{% set y = x %}{{ y }}{% endmacro %}{{ m(1) }}{{ y is defined }}", "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}", "{% set r = namespace(f=none) %}{% macro m() -%} x {%- endmacro %}{{ m() | trim }}{{ m }}{{ m.name }}{{ m.arguments }}",
    "{% macro m(a, b) %}{% endmacro %}{{ m(*[1, 2]) }}{{ m(**{'a': 1}) }}ok", "{% macro m(a, b=1, c) %}{% endmacro %}", "{% macro m(x) %}{{ x }}{% endmacro %}{{ l | map('string') | map('upper') | list }}{{ [m('<')] }}", "{% set x = 5 %}{% macro m(x) %}{{ x }}{% endmacro %}{{ m(6) }}{{ x }}", "{% macro m(a) %}{% if a %}{{ a[0] }}{{ m(a[1:]) }}{% endif %}{% endmacro %}{{ m([1, 2, 3]) }}", "{% macro m(caller) %}{{ caller }}{% endmacro %}{{ m(1) }}",
    "{% macro outer() %}{% macro inner() %}i{% endmacro %}{{ inner() }}{% endmacro %}{{ outer() }}", "{% macro m() %}{% for i in l %}{{ loop.index }}{% endfor %}{% endmacro %}{{ m() }}", "{% for i in l %}{% call (x) m(i) %}{{ x }}{{ i }}{% endcall %}{% endfor %}", "{% macro m(l) %}{% for i in l %}{{ caller(i) }}{% endfor %}{% endmacro %}{% call(i) m([1, 2]) %}<{{ i }}>{% endcall %}",
    # cycler, joiner
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.current }}", "{% set j = joiner('|') %}{{ j() }}a{{ j() }}b", "{% set ns = namespace(a=1) %}{{ ns }}{% set ns.b = [1] %}{{ ns.b }}{{ ns.c is defined }}",
    # what chat templates do
    "{%- for message in msgs %}\n    {%- if message.content is string %}\n        {{- '<' + message.role + '>' + message.content }}\n    {%- elif message.content is none %}\n        {%- for tc in message.tool_calls %}\n            {{- '\\n' + tc.function.name + (tc.function.arguments | tojson) }}\n        {%- endfor %}\n    {%- else %}\n        {%- for p in message['content'] if p['type'] == 'text' %}{{ p.text }}{% endfor %}\n    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- 'A' }}\n{%- endif %}\n",
    "{% for m in msgs[::-1] %}{{ m.role[0] }}{% endfor %}", "{% set ns = namespace(last=-1) %}{% for m in msgs %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{{ ns.last }}", "{% if msgs[0]['role'] == 'system' %}{% set sys = msgs[0]['content'] %}{% set rest = msgs[1:] %}{% else %}{% set rest = msgs %}{% endif %}{{ sys }}{{ rest | length }}", "{{ msgs[0]['content'].split('</think>')[-1].lstrip('\\n') }}",
    "{% if (msgs[0].role == 'user') != (n % 2 == 0) %}{{ raise_exception('alternate') }}{% endif %}", "{{ bos_token }}{{ eos_token | default('') }}", "{% set tools = tools if tools is defined else none %}{{ tools }}", "{{ (msgs | first).role ~ (msgs | last).role }}", "{% for k, v in msgs[2].tool_calls[0].function.arguments | items %}{{ k }}={{ v if v is string else v | tojson }} {% endfor %}", "{{ '\\n' ~ msgs | map(attribute='role') | join('\\n') }}",
    "{% if x is defined and x %}{{ x.y | nope }}{% endif %}ok", "{% for i in l %}{{ i | nope }}{% endfor %}", "{% if t %}{% for i in [] %}{{ i | nope }}{% endfor %}{% endif %}", "{% block b %}{{ n }}{% endblock %}", "{% include 'x' %}", "{% import 'x' as y %}", "{% nope %}", "{% if %}", "{% endif %}", "{{ }}", "{{ 1", "{% if true %}", "{% for %}", "{{ 1 + }}", "{{ (1 }}", "{{ [1 }}", "{{ 'x }}", "{# x", "{% raw %}", "{{ a b }}", "{{ 1 | }}", "{{ x is }}", "{{ s.1x }}", "{% macro %}", "{{ @ }}", "{{ 08 }}", "{% do 1 %}", "{% if n = 1 %}{% endif %}",
    "{% set a = 'x' %}{% set a = a ~ a %}{% set a = a ~ a %}{{ a }}", "{% set a = 'x' * 600 %}{% set b = a ~ 'y' %}{% set c = a ~ 'z' %}{% set d = b ~ '1' %}{% set e = b ~ '2' %}{{ b[-2:] }}{{ c[-2:] }}{{ d[-2:] }}{{ e[-2:] }}{{ d | length }}",
    "{% autoescape false %}{{ '<' }}{% endautoescape %}", "{{ strftime_now('%d %b %Y') }}", "{% if strftime_now is defined %}y{% endif %}", "{{ messages is defined }}{{ msgs is defined }}", "{%- set a -%}  x  {%- endset -%}[{{ a }}]", "{{ 'a\n  b' }}", "{{ 'a\\\n b' }}", "{% if 'a' in ['a'] and not 'b' in ['a'] %}y{% endif %}", "{{ -1 | abs }}{{ (-1) | abs }}", "{{ 2 if n is gt 40 }}",
]


def main():
    cases = []
    for t in ["{{ " + x + " }}" for x in EXPRESSIONS] + TEMPLATES:
        case = {"t": t}
        try:
            case["e"] = env.from_string(t).render(**CONTEXT)
            if " at 0x" in case["e"]:
                continue  # prints an address
        except Exception as x:
            case["x"] = type(x).__name__ + ": " + str(x)
        cases.append(case)
    json.dump({"now": NOW.isoformat(), "context": CONTEXT, "cases": cases}, sys.stdout, ensure_ascii=False, indent=0)
    print()


main()
