"""Hostile bodies."""

from __future__ import annotations

import gzip
import json
import time
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.exceptions import APIException

from mayagen.api.parsers import parse_json

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.mayagen.probe_routes")]


def post(client: Client, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    content_type = headers.pop("content_type", "application/json")
    response = client.generic("POST", "/api/v1/echo/", body, content_type=content_type, headers=headers)
    return response.status_code, response.json()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[" * 100_000, "too_deep"),
        (b"[" * 100_000 + b"]" * 100_000, "too_deep"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "too_deep"),
        (b"[" * 33 + b"]" * 33, "too_deep"),
        (b'{"a": 1e400}', "number_out_of_range"),
        (b'{"a": -1e400}', "number_out_of_range"),
        (b'{"a": 1' + b"0" * 5_000 + b"}", "number_out_of_range"),
        (b'{"a": 0.' + b"1" * 31 + b"}", "number_out_of_range"),
        (b'{"a": NaN}', "not_finite"),
        (b'{"a": -Infinity}', "not_finite"),
        (b'{"a": 1, "a": 2}', "duplicate_key"),
        (b'{"a": 1, "\\u0061": 2}', "duplicate_key"),
        (b'{"a": {"b": [{"c": 1, "c": 1}]}}', "duplicate_key"),
        (b'{"a": "\\ud800"}', "lone_surrogate"),
        (b'{"a": ["x", {"\\uDFFF": 1}]}', "lone_surrogate"),
        (b'{"a": "\\ude00\\ud83d"}', "lone_surrogate"),
        (b'{"a": "\\u0000"}', "nul_character"),
        (b'{"a\\u0000": 1}', "nul_character"),
        (b'[[["\\u0000"]]]', "nul_character"),
        (b'"\\u0000"', "nul_character"),
        (b'{"a": "\x00"}', "malformed_json"),
        (b'\xef\xbb\xbf{"a": 1}', "not_utf8"),
        ('{"a": 1}'.encode("utf-16"), "not_utf8"),
        ('{"a": 1}'.encode("utf-16-le"), "malformed_json"),
        (b'{"a": "\xff"}', "not_utf8"),
        (b'{"a": "\xed\xa0\x80"}', "not_utf8"),
        (b'{"a": 1', "malformed_json"),
        (b"{a: 1}", "malformed_json"),
        (b"[1,]", "malformed_json"),
        (b" ", "malformed_json"),
    ],
)
def test_a_hostile_body_is_refused_by_name(client: Client, body: bytes, code: str) -> None:
    started = time.process_time()

    status, problem = post(client, body)

    assert (status, problem["code"]) == (400, code)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": "\\ud83d\\ude00"}',
        b'{"a": "\\\\u0000"}',
        b'{"a": 18446744073709551615, "b": 1e-7, "c": null, "d": true}',
        b"[" * 32 + b"]" * 32,
        '{"ключ": "日本"}'.encode(),
    ],
)
def test_an_unusual_but_sound_body_is_read(client: Client, body: bytes) -> None:
    assert post(client, body) == (200, {"body": json.loads(body)})


def test_a_body_over_the_views_limit_is_refused(client: Client) -> None:
    body = b'{"a": "' + b"x" * 300_000 + b'"}'

    assert post(client, body)[0] == 413
    assert post(client, body)[1]["code"] == "body_too_large"


def test_a_compressed_body_is_refused_unread(client: Client) -> None:
    status, problem = post(client, gzip.compress(b'{"a": 1}'), **{"Content-Encoding": "gzip"})

    assert (status, problem["code"]) == (415, "unsupported_content_encoding")


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json; charset=utf-16", 400),
        ("application/json; charset=bz2", 400),
        ("application/json; charset=UTF-8", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/yaml", 415),
    ],
)
def test_only_utf8_json_is_json(client: Client, content_type: str, status: int) -> None:
    assert post(client, b'{"a": 1}', content_type=content_type)[0] == status


def test_a_form_with_nul_in_a_field_is_refused(client: Client) -> None:
    response = client.post("/api/v1/echo/", {"note": "a\x00b"})

    assert (response.status_code, response.json()["code"]) == (400, "nul_character")


def test_a_form_over_its_limit_is_refused_before_it_is_read(client: Client) -> None:
    response = client.post("/api/v1/echo/", {"image": SimpleUploadedFile("a.png", b"x" * 100_001)})

    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


def test_a_form_without_a_boundary_is_refused(client: Client) -> None:
    status, problem = post(client, b"--x", content_type="multipart/form-data")

    assert (status, problem["code"]) == (400, "malformed_multipart")


def test_a_form_of_too_many_fields_is_refused(client: Client) -> None:
    response = client.post("/api/v1/echo/", {f"f{number}": "" for number in range(1_100)})

    assert response.status_code == 400


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"level": "1_000"}, "level"),
        ({"level": "١٢"}, "level"),
        ({"level": True}, "level"),
        ({"level": 1.5}, "level"),
        ({"level": 10**29}, "level"),
        ({"level": "1" * 25}, "level"),
        ({"share": "nan"}, "share"),
        ({"share": "1_0.5"}, "share"),
        ({"share": False}, "share"),
        ({"cost_usd": "1_0"}, "cost_usd"),
        ({"cost_usd": "\uff11"}, "cost_usd"),
        ({"cost_usd": True}, "cost_usd"),
        ({"version": 5}, "version"),
        ({"version": "5"}, "version"),
        ({"version": "{0190a8a2-7f1e-7000-8000-000000000000}"}, "version"),
        ({"version": ["x"]}, "version"),
        ({"role": "admin"}, "role"),
    ],
)
def test_a_field_takes_only_what_it_is(client: Client, body: dict[str, Any], field: str) -> None:
    response = client.post("/api/v1/echo/?strict=1", body, content_type="application/json")

    assert response.status_code == 400
    assert list(response.json()["fields"]) == [field]


def test_fields_take_numbers_and_their_plain_digits(client: Client) -> None:
    body = {"level": 4, "share": 0.5, "cost_usd": "1.20", "version": "0190a8a2-7f1e-7000-8000-000000000000"}

    as_json = client.post("/api/v1/echo/?strict=1", body, content_type="application/json")
    as_form = client.post("/api/v1/echo/?strict=1", {**body, "share": "0.5"})

    assert as_json.status_code == as_form.status_code == 200
    assert as_json.json() == as_form.json()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=10),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text("ab\\u0", max_size=4), children)
    ),
    max_leaves=15,
)


@given(json_values, st.booleans())
def test_sound_json_is_read_as_everybody_reads_it(value: object, ascii_only: bool) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode()

    assert parse_json(body) == json.loads(body)


@given(st.binary(max_size=60) | st.text('{}[]",:0e1-\\ud8 ', max_size=40).map(str.encode))
def test_any_bytes_are_read_or_refused_with_a_code(body: bytes) -> None:
    try:
        parsed = parse_json(body)
    except APIException as error:
        refused = error.get_codes()
    else:
        refused = "no"
        json.dumps(parsed, ensure_ascii=False).encode()

    assert isinstance(refused, str)
