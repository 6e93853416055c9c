"""Parameters against a model's schema, and schemas that are an attack."""

from __future__ import annotations

import contextlib
import http.server
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts.schemas import (
    ParametersInvalidError,
    SchemaInvalidError,
    check_schema,
    validate_parameters,
    with_defaults,
)

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "steps": {"type": "integer", "minimum": 1, "maximum": 50, "default": 20},
        "guidance": {"type": "number", "default": 7.5},
        "sampler": {"enum": ["euler", "ddim"]},
        "callback": {"type": "string", "format": "uri"},
        "size": {"$ref": "#/$defs/size"},
        "loras": {"type": "array", "items": {"type": "object", "required": ["path"]}},
    },
    "required": ["sampler"],
    "additionalProperties": False,
    "$defs": {"size": {"type": "object", "properties": {"width": {"type": "integer", "multipleOf": 8}}}},
}


def doubling(levels: int) -> dict[str, Any]:
    """A schema of a few kilobytes that asks for 2**levels checks."""
    definitions: dict[str, Any] = {"a0": {"type": "integer"}}
    for level in range(1, levels + 1):
        reference = {"$ref": f"#/$defs/a{level - 1}"}
        definitions[f"a{level}"] = {"allOf": [reference, reference]}
    return {"$defs": definitions, "properties": {"x": {"$ref": f"#/$defs/a{levels}"}}}


def nested(keyword: str, levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {keyword: [schema]}
    return schema


def test_parameters_that_fit_pass() -> None:
    validate_parameters(SCHEMA, {"steps": 20, "sampler": "ddim", "size": {"width": 512}})


@pytest.mark.parametrize(
    ("parameters", "path", "words"),
    [
        ({}, "parameters.sampler", "required"),
        ({"sampler": "other"}, "parameters.sampler", "euler"),
        ({"sampler": "ddim", "steps": 51}, "parameters.steps", "50"),
        ({"sampler": "ddim", "steps": "20"}, "parameters.steps", "integer"),
        ({"sampler": "ddim", "steps": True}, "parameters.steps", "integer"),
        ({"sampler": "ddim", "stpes": 3}, "parameters.stpes", "does not know"),
        ({"sampler": "ddim", "size": {"width": 7}}, "parameters.size.width", "8"),
        ({"sampler": "ddim", "loras": [{"path": 1}, {}]}, "parameters.loras.1.path", "required"),
        ({"sampler": "ddim", "callback": "not a uri"}, "parameters.callback", "uri"),
        ([], "parameters", "object"),
        (None, "parameters", "object"),
        ({"sampler": float("nan")}, "parameters", "finite"),
        ({"sampler": "a\x00"}, "parameters", "NUL"),
        ({"sampler": "\ud800"}, "parameters", "surrogate"),
        ({"sampler": 10**400}, "parameters", "30 digits"),
        ({"sampler": b"x"}, "parameters", "not JSON"),
        ({1: "x"}, "parameters", "not text"),
        ({"sampler": "x" * 70_000}, "parameters", "64 KB"),
    ],
)
def test_a_fault_is_named_with_its_path(parameters: object, path: str, words: str) -> None:
    with pytest.raises(ParametersInvalidError) as caught:
        validate_parameters(SCHEMA, parameters)

    assert words in " ".join(caught.value.fields[path])
    assert caught.value.status == 400


def test_every_fault_is_told_at_once_but_not_thousands() -> None:
    with pytest.raises(ParametersInvalidError) as caught:
        validate_parameters(SCHEMA, {"steps": 0, "guidance": "x"})
    assert set(caught.value.fields) == {"parameters.steps", "parameters.guidance", "parameters.sampler"}

    with pytest.raises(ParametersInvalidError) as caught:
        validate_parameters({"properties": {"n": {"items": {"type": "string"}}}}, {"n": list(range(5_000))})
    assert len(caught.value.fields) == 50


def test_a_long_value_is_not_repeated_in_the_sentence() -> None:
    with pytest.raises(ParametersInvalidError) as caught:
        validate_parameters(SCHEMA, {"sampler": "secret" * 1_000})

    assert all(
        len(sentence) < 320 and "secret" not in sentence
        for sentences in caught.value.fields.values()
        for sentence in sentences
    )


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ([], "JSON object"),
        (True, "JSON object"),
        ({"type": "string"}, "object"),
        ({"properties": {"x": {"type": "no-such-type"}}}, "usable"),
        ({"properties": {"x": {"pattern": "("}}}, "regex"),
        ({"properties": {"x": {"pattern": r"(a+)+\1"}}}, "regex"),
        ({"properties": {"x": {"pattern": "(?=a)b"}}}, "regex"),
        ({"properties": {"x": {"pattern": "((a{1000}){1000}){1000}"}}}, "regex"),
        ({"description": "x" * 66_000}, "64 KB"),
        (nested("allOf", 40), "nested"),
        (nested("allOf", 3_000), "nested"),
        ({"$ref": "#"}, "back to itself"),
        ({"allOf": [{"$ref": "#/allOf/0"}]}, "back to itself"),
        ({"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}, "back to itself"),
        ({"$ref": "#/$defs/none"}, "nowhere"),
        ({"$ref": "#anchor"}, "not followed"),
        ({"$ref": "other.json"}, "not followed"),
        ({"$ref": "file:///etc/passwd"}, "not followed"),
        ({"$ref": "http://127.0.0.1/x"}, "not followed"),
        ({"properties": {"x": {"$id": "http://x/", "$ref": "#/y"}}}, "top of a schema"),
        ({"$dynamicRef": "#x"}, "not supported"),
        ({"unevaluatedProperties": False}, "not supported"),
        ({"$schema": "http://127.0.0.1/own"}, "must name draft"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, "must name draft"),
        ({"$schema": 4}, "must name draft"),
        ({"default": float("inf")}, "finite"),
        ({"title": "a\x00b"}, "NUL"),
        (doubling(24), "parts"),
        (doubling(400), "parts"),
    ],
)
def test_a_hostile_schema_is_refused_quickly(schema: object, words: str) -> None:
    started = time.process_time()

    with pytest.raises(SchemaInvalidError) as caught:
        check_schema(schema)

    assert words in caught.value.message
    assert len(caught.value.message) < 700
    assert time.process_time() - started < 1


def test_nothing_is_fetched_for_a_reference(tmp_path: Path) -> None:
    requests: list[str] = []

    class Recorder(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

    readable = tmp_path / "schema.json"
    readable.write_text("{}")
    with http.server.HTTPServer(("127.0.0.1", 0), Recorder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        for reference in (f"http://127.0.0.1:{server.server_port}/schema.json", readable.as_uri()):
            for schema in ({"$ref": reference}, {"$id": reference, "$ref": "other"}, {"$schema": reference}):
                with pytest.raises(SchemaInvalidError):
                    check_schema(schema)
        server.shutdown()
        thread.join()

    assert requests == []


def test_a_catastrophic_pattern_is_linear_here() -> None:
    started = time.process_time()

    with pytest.raises(ParametersInvalidError):
        validate_parameters({"properties": {"x": {"pattern": "^(a+)+$"}}}, {"x": "a" * 60_000 + "!"})

    assert time.process_time() - started < 0.5


def test_given_parameters_win_over_the_models_defaults_and_those_over_the_schemas() -> None:
    completed = with_defaults(SCHEMA, {"guidance": 5.0, "sampler": "ddim"}, {"sampler": "euler"})

    assert completed == {"steps": 20, "guidance": 5.0, "sampler": "euler"}


def test_defaults_are_copied_not_shared() -> None:
    schema: dict[str, Any] = {"properties": {"tags": {"default": []}}}

    with_defaults(schema, {}, {})["tags"].append("x")

    assert schema["properties"]["tags"]["default"] == []


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=6), children, max_size=4)
    ),
    max_leaves=12,
)


@given(json_values, json_values)
def test_any_schema_and_parameters_end_in_a_domain_error_or_pass(schema: object, parameters: object) -> None:
    with contextlib.suppress(SchemaInvalidError, ParametersInvalidError):
        validate_parameters(schema, parameters)
