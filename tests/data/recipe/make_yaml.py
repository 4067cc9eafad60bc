"""Writes yaml.txt: documents, and what PyYAML's safe_load makes of them.

A case is three lines: the text as a JSON string, "ok" or "error", and the documents in the
notation of tests/recipe/test_yaml.c. Needs PyYAML.

    python tests/data/recipe/make_yaml.py
"""

import datetime
import json
import pathlib

import yaml

SCALARS = """
yes Yes YES no No NO on On ON off Off OFF true True TRUE false False FALSE tRue yeS y n Y N oN
~ null Null NULL nULL none None
0 1 -1 +1 12 012 010 -012 +017 0777 08 09 0o10 0b101 -0b11 0b 0b2 0x1F 0X1F -0xff 0xg 0xFF_FF 1_000
-1_0 _1 1__0 0_ 00 0_7
1:30 1:30:15 -1:30 1:60 1:75 0:30 01:30 1:5 190:20:30 1:30. 1:30.5 -1:30:00.25 0:30.5 1:60.5 1_0:30
1. 1.0 .5 -.5 +.5 5. -5. +5.5 1e5 1E5 1e-5 1e+5 1.e+5 1.5e3 1.5e+3 1.0e-05 1.0e5 -1.5E+3 1_0.5 1._5
._5 .5e-3 .5e3 .
.inf .Inf .INF -.inf +.inf inf -inf .nan .NaN .NAN nan NaN .iNF -.nan
1e 1.5e 1.5e+ 1.5e- 1.2.3 1..2 0.1 00.5 09.5 1,5 1.5f --1 +-1 - + e5 5e 0x 0.0 -0.0 -0
1.7976931348623157e+308 2.5e-324
123456789012345678 99999999999999999999 0.1234567890123456789 1.000000000000000000001e+22
2024-01-05 2024-1-5 2024-01-05T10:11:12 2024-01-05t10:11:12Z 2024-01-05T10:11:12.5+01:00
2024-1-5T1:02:03-5 20240105 2024-01
<< = << a=b
abc a:b a::b ~a /home/x E:\\x C:/x org/name@rev a+b a#b (x) 1st v1.0 1.10 1.0.0 0.1b 3rd 1/2 50% x@y
""".split()

DOCUMENTS = [
    "", "\n", "# only a comment\n", "---\n", "---\n---\n", "a: 1\n---\nb: 2\n", "a: 1\n...\n",
    "--- a\n--- b\n", "%YAML 1.2\n---\na: 1\n",
    "%YAML 1.1\n---\na: 010\n", "%TAG ! tag:yaml.org,2002:\n---\na: !str 1\n",
    "a:\n  - 1\n  - x\n", "- - 1\n  - 2\n- []\n- {}\n", "{a: 1, b: [1, 2, {c: d}]}", "{a:1}",
    "{a: , b}", "[a, b, ]", "[a b, c: d]", "[,]", "{a}",
    "a: 'x''y'\nb: \"x\\ty\\u0041\"\nc: \"\\x41\"\n", "a: \"E:\\x\"\n", "a: 'E:\\x'\n",
    "a: E:\\x\n", "a: \"C:\\Users\"\n",
    "a: |\n  x\n  y\nb: >\n  x\n  y\nc: |-\n  x\nd: |+\n  x\n\ne: >-\n  x\n\n  y\n",
    "a: x\n  y\nb: z\n", "a: |2\n   x\n",
    "a: 1\na: 2\n", "a: 1\nb: 2\na: 3\n", "1: a\n1.0: b\ntrue: c\n", "'1': a\n1: b\n", "? a\n: b\n",
    "? [a]\n: b\n", "? {a: b}\n: c\n", "? a\n", ": a\n",
    "on: 1\nyes: 2\n", "null: 1\n~: 2\n", "2024-01-05: 1\n",
    "x: &a [1, 2]\ny: *a\n", "x: &a 1\ny: *a\nz: *a\n", "x: *a\n", "x: &a 1\ny: &a 2\n",
    "x: &a {b: &c d}\ny: *c\n", "*a : 1\n", "&a a: *a\n",
    "x: &a b\n*a : c\n",
    "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\n", "a: &a {x: 1}\nb: {y: 2, <<: *a}\n",
    "a: &a {x: 1}\nb: &b {x: 2, z: 3}\nc:\n  <<: [*a, *b]\n",
    "a: &a {x: 1}\nb: &b {x: 2}\nc:\n  <<: *a\n  <<: *b\n", "a: {<<: 1}\n", "a: {<<: [1]}\n",
    "a: {<<: {x: 1}, x: 2}\n", "a: {'<<': {x: 1}}\n",
    "a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: *b, z: 3}\n", "<<: {x: 1}\nx: 2\n", "a: <<\n",
    "a: =\n", "=: a\n", "a: [<<]\n", "<< : []\n", "a: '='\n",
    "a: &a {x: 1}\nb: {x: 5, <<: [*a, {x: 7, w: 8}]}\n",
    "a: &a {xx: 1}\nb: &b {xx: 2, z: 3}\nc:\n  <<: [*a, *b]\n",
    "a: &a {xx: 1}\nb: &b {xx: 2}\nc:\n  <<: *b\n  <<: *a\n",
    "a: &a {xx: 1}\nb: &b {xx: 2}\nc:\n  <<: [*a, *b, *a]\n",
    "a: &a {xx: 1}\nb: &b {<<: *a, xx: 2}\nc: {<<: *b}\n", "a: {<<: [{11: 1}, {0xb: 2}]}\n",
    "a: {<<: [{é: 1, ż: 1, '': 1}, {é: 2, ż: 2, '': 2}]}\n", "\ufeffa: 1\nb: 2\n",
    "\ufeff%YAML 1.2\n---\na: 1\n", "\ufeff",
    "a: !!str 1\nb: !!int '2'\nc: !!float 1\nd: !!bool 'YES'\ne: !!null ''\nf: !!str yes\n",
    "a: !!float 1e5\n", "a: !!int x\n", "a: !!float x\n",
    "a: !!bool maybe\n", "a: ! 12\n", "a: ! '12'\n", "a: !!map {b: c}\nd: !!seq [e]\n",
    "a: !!map [b]\n", "a: !!seq {b: c}\n", "a: !!str [b]\n",
    "a: !local 1\n", "a: !!python/name:os.system x\n", "a: !!python/object/apply:os.system ['x']\n",
    "a: !<tag:yaml.org,2002:int> '7'\n",
    "a: !!float -.5\n", "a: !!int 0x1F\n", "a: !!int 1_0\n",
    "a: b: c\n", "a:\n\tb: 1\n", "a: 'x\n", "a: [1\n", "a: {b: 1\n", "a: ]\n", "- a\nb: 1\n",
    "a: 1\n b: 2\n", "a: @x\n", "a: `x`\n", "a: %x\n", "a: {{ x }}\n",
    "a: x # comment\nb: x#y\n", "a: x\t# c\n", "a: - b\n", "a: [- b]\n", "a: ? b\n", "a: !x\n",
    "a: &\n", "a: *\n", "a: |x\n", "a: \"\\q\"\n",
    "\ufeffa: 1\n", "a: 1\r\nb: 2\r\n", "a: 1\rb: 2\r", "a: caf\u00e9\n", "a: \U0001f600\n",
    "a: \"\\U0001F600\\u00e9\"\n", "a: \u2028b\n", "a: \x07\n", "a: \x85b\n",
    "models:\n- model: a\n  parameters: {weight: [0, 0.5, 1e-1]}\n- model: b\nmerge_method: "
    "linear\n", "a: " + "k" * 1030 + "\n", "? " + "k" * 200 + "\n: 1\n",
    "key: [a, b]: c\n", "a: 'b': c\n", "\"a\": 1\n", "'a' : 1\n", "a : 1\n", "a:1\n", "-1\n",
    "- 1\n", "a: -1\n", "a: - 1\n", "a:\n- b\n- c\n", "a:\n- b\nc\n",
    "a: [1:2, 3]\n", "a: [x:y]\n", "a: {b: 1,\n c: 2}\n", "a: [\n1,\n2\n]\n", "a: >\n",
    "a: |\n\nb: 1\n", "...\n", "--- |\n x\n", "a: 1 2\n", "'a\n b': 1\n",
]


def notation(value):
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"i{float(value):.17g}"
    if isinstance(value, float):
        return f"n{value:.17g}"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (datetime.date, datetime.datetime)):
        return "date"
    if isinstance(value, list):
        return "[" + ",".join(map(notation, value)) + "]"
    return "{" + ",".join(sorted(notation(k) + ":" + notation(v) for k, v in value.items())) + "}"


def case(text):
    try:
        documents = " ".join(map(notation, yaml.safe_load_all(text)))
        return [json.dumps(text), "ok", documents]
    except (yaml.YAMLError, KeyError, ValueError):
        return [json.dumps(text), "error", ""]


if __name__ == "__main__":
    texts = [f"a: {scalar}\n" for scalar in SCALARS] + DOCUMENTS
    lines = [line for text in dict.fromkeys(texts) for line in case(text)]
    path = pathlib.Path(__file__).with_name("yaml.txt")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    print(f"{len(lines) // 3} cases")
