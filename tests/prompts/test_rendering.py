"""Prompt templates: what renders, what is refused, and that nothing is expanded twice."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts.rendering import (
    MAX_RENDERED_LENGTH,
    MissingVariableError,
    RenderedTooLongError,
    TemplateSyntaxError,
    UnknownVariableError,
    VariableValueError,
    check_template,
    check_variables,
    list_variables,
    render,
)

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=60)


@pytest.mark.parametrize(
    ("template", "variables", "expected"),
    [
        ("", {}, ""),
        ("plain", {}, "plain"),
        ("a {subject} in {place}", {"subject": "fox", "place": "snow"}, "a fox in snow"),
        ("{x}{x}", {"x": "ab"}, "abab"),
        ("{{x}}", {}, "{x}"),
        ("{{{x}}}", {"x": "y"}, "{y}"),
        ('{{"k": "{v}"}}', {"v": "1"}, '{"k": "1"}'),
        ("{_1}", {"_1": "ä"}, "ä"),
        ("{n}", {"n": 7}, "7"),
        ("{n}", {"n": -(10**20)}, "-100000000000000000000"),
        ("{n}", {"n": 0.5}, "0.5"),
        ("{n}", {"n": 1e-7}, "0.0000001"),
        ("{n}", {"n": Decimal("2.50")}, "2.50"),
        ("{n}", {"n": True}, "true"),
        ("{x}", {"x": "{other}"}, "{other}"),
        ("{x}", {"x": "}}{{"}, "}}{{"),
        ("{x}", {"x": "{x.__class__}"}, "{x.__class__}"),
    ],
)
def test_a_template_renders_plainly(template: str, variables: dict[str, object], expected: str) -> None:
    assert render(template, variables) == expected


@pytest.mark.parametrize(
    ("template", "line", "column", "words"),
    [
        ("{x.__class__.__init__.__globals__}", 1, 1, "Attribute access"),
        ("{x[0]}", 1, 1, "Indexing"),
        ("{x!r}", 1, 1, "conversion"),
        ("{x:>999999999}", 1, 1, "format specification"),
        ("{x:{y}}", 1, 1, "not closed"),
        ("{}", 1, 1, "no variable name"),
        ("{ }", 1, 1, "no variable name"),
        ("{0}", 1, 1, "position"),
        ("{٣}", 1, 1, "position"),
        ("{ x }", 1, 1, "not a variable name"),
        ("{1a}", 1, 1, "not a variable name"),
        ("{naïve}", 1, 1, "not a variable name"),
        ("{x\n}", 1, 1, "not a variable name"),
        ("{" + "a" * 65 + "}", 1, 1, "longer than 64"),
        ("ok {y}\n  {x", 2, 3, "not closed"),
        ("a\nb } c", 2, 3, "closes nothing"),
        ("{{x}", 1, 4, "closes nothing"),
        ("a\x00b", 1, 2, "NUL"),
        ("a\ud800b", 1, 2, "surrogate"),
    ],
)
def test_anything_else_between_braces_is_refused_by_name(
    template: str, line: int, column: int, words: str
) -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        check_template(template)

    assert (caught.value.line, caught.value.column) == (line, column)
    assert words in caught.value.message
    assert len(caught.value.message) < 300
    assert caught.value.status == 400


def test_variables_are_listed_once_in_the_order_of_first_use() -> None:
    assert list_variables("{b} {a} {{c}} {b}") == ("b", "a")


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(MissingVariableError) as caught:
        render("{a} {b} {c}", {"b": "x"})

    assert caught.value.names == ("a", "c")
    assert set(caught.value.fields) == {"variables.a", "variables.c"}


def test_an_unknown_variable_is_named_unless_unused_ones_are_allowed() -> None:
    with pytest.raises(UnknownVariableError) as caught:
        render("{a}", {"a": "x", "z": "1", "y": []})

    assert caught.value.names == ("y", "z")
    assert render("{a}", {"a": "x", "z": []}, allow_unused=True) == "x"


def test_templates_that_share_variables_are_checked_together() -> None:
    check_variables(["{a}", "{b}"], {"a": "1", "b": "2"})

    with pytest.raises(MissingVariableError):
        check_variables(["{a}", "{b}"], {"a": "1"})
    with pytest.raises(UnknownVariableError):
        check_variables(["{a}", "{b}"], {"a": "1", "b": "2", "c": "3"})


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        ["x"],
        b"x",
        object(),
        float("nan"),
        float("inf"),
        Decimal("NaN"),
        Decimal("1E+999999"),
        10**500,
        1e300,
        "a\x00b",
        "\udc80",
    ],
)
def test_a_value_that_is_no_plain_text_is_refused(value: object) -> None:
    with pytest.raises(VariableValueError) as caught:
        render("{x}", {"x": value})

    assert list(caught.value.fields) == ["variables.x"]


def test_a_result_over_the_limit_is_refused_before_it_is_built() -> None:
    started = time.process_time()

    with pytest.raises(RenderedTooLongError):
        render("{x}" * 33_000, {"x": "a" * 100_000})

    assert time.process_time() - started < 1
    assert len(render("{x}", {"x": "a" * MAX_RENDERED_LENGTH})) == MAX_RENDERED_LENGTH


@pytest.mark.parametrize(
    "template", ["{" * 99_999, "}" * 99_999, "{a" * 49_999, "{" + "a" * 99_998, "a" * 100_001]
)
def test_a_hostile_template_is_refused_quickly(template: str) -> None:
    started = time.process_time()

    with pytest.raises(TemplateSyntaxError):
        check_template(template)

    assert time.process_time() - started < 1


@given(st.dictionaries(names, texts, max_size=6))
def test_any_text_stands_in_the_result_as_it_is(variables: dict[str, str]) -> None:
    template = "|".join("{" + name + "}" for name in variables)

    assert render(template, variables) == "|".join(variables.values())


@given(texts)
def test_escaping_braces_gives_the_text_back(text: str) -> None:
    template = text.replace("{", "{{").replace("}", "}}")

    assert render(template, {}) == text
    assert list_variables(template) == ()


@given(st.text(alphabet="{}ax.[]!:_0 \n", max_size=40))
def test_every_template_either_renders_or_names_its_fault(template: str) -> None:
    try:
        used = list_variables(template)
    except TemplateSyntaxError as error:
        fault: TemplateSyntaxError | None = error
    else:
        fault = None
        assert isinstance(render(template, dict.fromkeys(used, "v")), str)

    assert fault is None or (1 <= fault.line <= template.count("\n") + 1 and fault.column >= 1)
