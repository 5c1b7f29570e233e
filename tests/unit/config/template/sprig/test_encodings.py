"""Values as JSON and YAML, texts in base 64 and 32."""

from __future__ import annotations

import pytest

from tests.unit.config.template.sprig.rendering import fail, give

EXAMPLES = [
    ('{{dict "b" (list 1 nil true 1.5) "a" "<é>" | toJson}}', '{"a":"\\u003cé\\u003e","b":[1,null,true,1.5]}'),
    ('{{dict "a" "<" | toRawJson}}', '{"a":"<"}'),
    ('{{dict "a" (list 1 (dict)) | toPrettyJson}}', '{\n  "a": [\n    1,\n    {}\n  ]\n}'),
    ('{{toJson 1e21}} {{toJson 1e-7}} {{toJson 100000.0}} {{toJson (float64 "nan")}}', "1e+21 1e-7 100000 "),
    ('{{(fromJson "{\\"foo\\": 55}").foo}} {{fromJson "[1e400,2]"}} {{fromJson "x"}}', "55 [<nil> 2] <no value>"),
    ('{{dict "a" "yes" "b" "1" "l" (list "x: y" "a\\nb") | toYaml}}', 'a: "yes"\nb: "1"\nl:\n- \'x: y\'\n- |-\n  a\n  b'),
    ('{{toJson (fromYaml "a: {b: 1}")}}|{{toYaml (fromYaml "a: {b: 1}")}}', "|a:\n  b: 1"),
    (
        '{{b64enc "héllo"}} {{b64dec "aMOpbGxv"}} {{b64dec "a"}} {{b32enc "a"}} {{b32dec "ME======"}} {{b32dec "1"}}',
        "aMOpbGxv héllo illegal base64 data at input byte 0 ME====== a illegal base32 data at input byte 0",
    ),
    (
        '{{sha1sum "a"}} {{adler32sum "a"}} {{sha256sum "" | trunc 8}}',
        "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8 6422626 e3b0c442",
    ),
]
MISTAKES = [
    (
        '{{mustToJson (fromYaml "a: {b: 1}")}}',
        "error calling mustToJson: json: unsupported type: map[interface {}]interface {}",
    ),
    ('{{mustFromJson "[1 2]"}}', "error calling mustFromJson: invalid character '2' after array element"),
    ('{{fromYaml "- a"}}', "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!seq into map[string]interface {}"),
    ('{{fromYaml "a: b: c"}}', "error calling fromYaml: yaml: line 1: mapping values are not allowed in this context"),
]


@pytest.mark.parametrize(("source", "expected"), EXAMPLES)
def test_examples(source, expected):
    assert give(source) == expected


@pytest.mark.parametrize(("source", "message"), MISTAKES)
def test_mistakes(source, message):
    assert fail(source).endswith(message)
