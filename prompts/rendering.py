"""Prompt templates: `{variable}` in, text out.

The language is deliberately smaller than `str.format`, whose attribute access and format
specifications reach into the process and can ask for gigabytes: a name between braces, and `{{` and
`}}` for the braces themselves. Values are inserted as they are and never expanded again.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from mayagen.common.errors import DomainError

MAX_TEMPLATE_LENGTH = 100_000
MAX_RENDERED_LENGTH = 100_000
MAX_VARIABLE_NAME_LENGTH = 64

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
# More digits than any seed or measure has, and few enough that printing them costs nothing.
_MAX_DIGITS = 100
_MAX_SHOWN_LENGTH = 40


class TemplateSyntaxError(DomainError):
    """The template holds something else than text, `{name}`, `{{` and `}}`.

    `line` and `column` of the first fault count from 1.
    """

    code = "template_syntax"
    status = 400
    sentence = "The template can't be read."

    def __init__(self, message: str, *, line: int, column: int) -> None:
        self.line = line
        self.column = column
        super().__init__(
            f"Line {line}, column {column}: {message}",
            extra={"line": line, "column": column},
        )


class _NamedVariablesError(DomainError):
    """An error about certain variables, which `names` lists."""

    status = 400

    def __init__(self, names: Iterable[str], *, sentence: str) -> None:
        self.names = tuple(names)
        super().__init__(
            f"{self.sentence} {', '.join(self.names)}",
            fields={f"variables.{name}": [sentence] for name in self.names},
            extra={"names": list(self.names)},
        )


class MissingVariableError(_NamedVariablesError):
    """The template uses variables that were given no value."""

    code = "missing_variable"
    sentence = "The template uses variables that have no value:"

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__(names, sentence="The template uses this variable, and it has no value.")


class UnknownVariableError(_NamedVariablesError):
    """Values were given for variables that the template does not use."""

    code = "unknown_variable"
    sentence = "The template does not use these variables:"

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__(names, sentence="The template does not use this variable.")


class VariableValueError(DomainError):
    """A variable's value can't stand in a text: a list, an object, nothing, NUL, or not a finite number."""

    code = "variable_value"
    status = 400
    sentence = "A variable has a value that can't stand in a prompt."

    def __init__(self, name: str, sentence: str) -> None:
        self.name = name
        super().__init__(
            f"The variable {name[:MAX_VARIABLE_NAME_LENGTH]}: {sentence}",
            fields={f"variables.{name}": [sentence]},
        )


class RenderedTooLongError(DomainError):
    """The rendered text would be longer than 100,000 characters."""

    code = "rendered_too_long"
    status = 400
    sentence = f"The rendered prompt would be longer than {MAX_RENDERED_LENGTH:,} characters."


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of a template: literal text, or the name of a variable."""

    text: str
    is_variable: bool


def list_variables(template: str) -> tuple[str, ...]:
    """Return the names of the template's variables, each once, in the order of their first use.

    Raises:
        TemplateSyntaxError: The template can't be read.
    """
    return tuple(dict.fromkeys(part.text for part in _parse(template) if part.is_variable))


def check_template(template: str) -> None:
    """Do nothing when the template can be read.

    Raises:
        TemplateSyntaxError: It can't, with the line and column of the first fault.
    """
    _parse(template)


def check_variables(templates: Iterable[str], variables: Mapping[str, object]) -> None:
    """Do nothing when the variables are exactly those that the templates use between them.

    Raises:
        TemplateSyntaxError: A template can't be read.
        MissingVariableError: A template uses a variable that is not given.
        UnknownVariableError: A variable is given that no template uses.
    """
    used = dict.fromkeys(name for template in templates for name in list_variables(template))
    missing = [name for name in used if name not in variables]
    if missing:
        raise MissingVariableError(missing)
    unknown = sorted(str(name)[:MAX_VARIABLE_NAME_LENGTH] for name in variables if name not in used)
    if unknown:
        raise UnknownVariableError(unknown)


def render(template: str, variables: Mapping[str, object], *, allow_unused: bool = False) -> str:
    """Return the template with its variables replaced by their values.

    Args:
        template: Text with variables, at most 100,000 characters.
        variables: Text, or numbers and truth values, which are written plainly (`0.5`, `true`).
        allow_unused: Accept values for variables that the template does not use, for a version whose
            several templates share one set of variables; `check_variables` then checks the whole set.

    Raises:
        TemplateSyntaxError: The template can't be read.
        MissingVariableError: A variable that the template uses is not given.
        UnknownVariableError: A variable is given that the template does not use.
        VariableValueError: A value can't stand in a text.
        RenderedTooLongError: The result would be longer than 100,000 characters.
    """
    parts = _parse(template)
    used = dict.fromkeys(part.text for part in parts if part.is_variable)
    given = {name: value for name, value in variables.items() if name in used} if allow_unused else variables
    check_variables([template], given)
    texts = {name: _to_text(name, given[name]) for name in used}
    pieces: list[str] = []
    length = 0
    for part in parts:
        piece = texts[part.text] if part.is_variable else part.text
        length += len(piece)
        # Counted before joining: a short template can name one long value many times.
        if length > MAX_RENDERED_LENGTH:
            raise RenderedTooLongError
        pieces.append(piece)
    return "".join(pieces)


def _to_text(name: str, value: object) -> str:
    if isinstance(value, str):
        if "\x00" in value:
            raise VariableValueError(name, "The value holds a NUL character.")
        if _LONE_SURROGATE.search(value):
            raise VariableValueError(name, "The value holds half of a surrogate pair.")
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        if abs(value) >= 10**_MAX_DIGITS:
            raise VariableValueError(name, f"The number has more than {_MAX_DIGITS} digits.")
        return str(value)
    if isinstance(value, float | Decimal):
        return _number_to_text(name, value)
    raise VariableValueError(name, "The value must be text, a number, true or false.")


def _number_to_text(name: str, value: float | Decimal) -> str:
    if not math.isfinite(value):
        raise VariableValueError(name, "The number is not finite.")
    number = Decimal(repr(value)) if isinstance(value, float) else value
    if abs(number.adjusted()) >= _MAX_DIGITS or len(number.as_tuple().digits) > _MAX_DIGITS:
        raise VariableValueError(name, f"The number has more than {_MAX_DIGITS} digits.")
    return format(number, "f")


@lru_cache(maxsize=32)
def _parse(template: str) -> tuple[_Part, ...]:
    """Return the template's parts; kept for a while, since a run renders few templates thousands of times."""
    return tuple(_list_parts(template))


def _list_parts(template: str) -> Iterator[_Part]:
    """Yield the template's parts; one pass, linear in its length."""
    _check_text(template)
    position = 0
    for match in _TOKEN.finditer(template):
        if match.start() > position:
            yield _Part(template[position : match.start()], is_variable=False)
        position = match.end()
        piece = match.group()
        name = match.group(1)
        if piece in ("{{", "}}"):
            yield _Part(piece[0], is_variable=False)
        elif name is not None and len(name) <= MAX_VARIABLE_NAME_LENGTH and _NAME.match(name):
            yield _Part(name, is_variable=True)
        else:
            raise _syntax_error(template, match.start(), _name_fault(piece, name))
    if position < len(template):
        yield _Part(template[position:], is_variable=False)


def _check_text(template: str) -> None:
    if len(template) > MAX_TEMPLATE_LENGTH:
        sentence = f"The template is longer than {MAX_TEMPLATE_LENGTH:,} characters."
        raise _syntax_error(template, MAX_TEMPLATE_LENGTH, sentence)
    if "\x00" in template:
        raise _syntax_error(template, template.index("\x00"), "The template holds a NUL character.")
    surrogate = _LONE_SURROGATE.search(template)
    if surrogate:
        raise _syntax_error(template, surrogate.start(), "The template holds half of a surrogate pair.")


def _syntax_error(template: str, position: int, sentence: str) -> TemplateSyntaxError:
    line = template.count("\n", 0, position) + 1
    column = position - (template.rfind("\n", 0, position) + 1) + 1
    return TemplateSyntaxError(sentence, line=line, column=column)


def _name_fault(brace: str, name: str | None) -> str:
    """Say what is wrong with a brace, or with what stands between two braces."""
    if name is None:
        if brace == "{":
            return "This { is not closed. Write {{ for a brace that belongs to the text."
        return "This } closes nothing. Write }} for a brace that belongs to the text."
    shown = "{" + (name if len(name) <= _MAX_SHOWN_LENGTH else f"{name[:_MAX_SHOWN_LENGTH]}…") + "}"
    if not name.strip():
        return "There is no variable name between the braces."
    # In the order in which str.format reads them: {name.attribute[index]!conversion:format}.
    first = re.search(r"[.\[!:]", name)
    if first:
        fault = {
            ".": "Attribute access",
            "[": "Indexing",
            "!": "A conversion",
            ":": "A format specification",
        }[first.group()]
        return f"{fault} is not allowed in {shown}: only a variable name may stand between braces."
    if name.isdecimal():
        return f"{shown} is a position: only a variable name may stand between braces."
    if len(name) > MAX_VARIABLE_NAME_LENGTH:
        return f"The name {shown} is longer than {MAX_VARIABLE_NAME_LENGTH} characters."
    return (
        f"{shown} is not a variable name: it may hold letters from a to z, digits and underscores,"
        " and starts with no digit."
    )
