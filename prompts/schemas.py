"""A model's parameters against its JSON Schema.

Schemas are written by admins and imported from providers, so they are untrusted: nothing is ever
fetched, patterns run on a linear-time engine, and whatever makes validation exponential (recursive or
doubling references, `unevaluated…`) is refused when the schema is checked.
"""

from __future__ import annotations

import copy
import functools
import json
import math
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any, NoReturn

import jsonschema_rs

from mayagen.common.errors import DomainError

MAX_SCHEMA_BYTES = 64 * 1024
MAX_PARAMETERS_BYTES = 64 * 1024
MAX_DEPTH = 32
# Providers' own schemas have a few hundred subschemas.
MAX_SUBSCHEMAS = 5_000

_MAX_ERRORS = 50
_MAX_DIGITS = 30
_MAX_SENTENCE_LENGTH = 300
_MAX_PATTERN_BYTES = 1 << 20
# `unevaluated…` costs about three times more with every level of nesting; the others point where this
# module's own walk over references would not see them.
_REFUSED_KEYWORDS = frozenset(
    {"unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef"},
)
# Draft 4 is left out: its `id` moves the base of references, which the walk below does not follow.
_DRAFTS = frozenset(
    {
        "https://json-schema.org/draft/2020-12/schema",
        "https://json-schema.org/draft/2019-09/schema",
        "http://json-schema.org/draft-07/schema",
        "http://json-schema.org/draft-06/schema",
    },
)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class SchemaInvalidError(DomainError):
    """The text is no JSON Schema that this product accepts for a model's parameters."""

    code = "schema_invalid"
    status = 400
    sentence = "This is not a usable JSON Schema."


class ParametersInvalidError(DomainError):
    """Parameters break the model's schema; `fields` has a sentence per path, such as `parameters.steps`."""

    code = "parameters_invalid"
    status = 400
    sentence = "The parameters do not fit the model."


def check_schema(schema: object) -> None:
    """Do nothing when the value is a JSON Schema that parameters can be validated by.

    Raises:
        SchemaInvalidError: It is too large or deep, not valid, refers to something outside itself or
            to itself, holds a pattern that needs backtracking, or describes no object.
    """
    _compile(_canonical_schema(schema))


def validate_parameters(schema: object, parameters: object) -> None:
    """Do nothing when the parameters fit the schema.

    Raises:
        SchemaInvalidError: The schema itself is refused.
        ParametersInvalidError: Parameters are missing, unknown, of the wrong kind or outside their
            limits; at most 50 faults are named.
    """
    validator = _compile(_canonical_schema(schema))
    if not isinstance(parameters, Mapping):
        raise ParametersInvalidError(fields={"parameters": ["Parameters must be a JSON object."]})
    try:
        canonical = _canonical_json(parameters)
    except ValueError as error:
        raise ParametersInvalidError(fields={"parameters": [str(error)]}) from None
    if len(canonical.encode()) > MAX_PARAMETERS_BYTES:
        raise ParametersInvalidError(fields={"parameters": ["Parameters are larger than 64 KB."]})
    fields: dict[str, list[str]] = {}
    for count, fault in enumerate(validator.iter_errors(json.loads(canonical))):
        if count == _MAX_ERRORS:
            break
        for path, sentence in _explain(fault):
            fields.setdefault(path, []).append(sentence)
    if fields:
        raise ParametersInvalidError(fields=fields)


def with_defaults(
    schema: Mapping[str, Any],
    defaults: Mapping[str, Any],
    parameters: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the parameters completed: given ones first, then the model's defaults, then the schema's.

    Only whole top-level parameters are filled in; a given object is never merged with a default one.
    """
    properties = schema.get("properties")
    completed: dict[str, Any] = {}
    if isinstance(properties, Mapping):
        for name, subschema in properties.items():
            if isinstance(subschema, Mapping) and "default" in subschema:
                completed[name] = copy.deepcopy(subschema["default"])
    completed.update(copy.deepcopy(dict(defaults)))
    completed.update(copy.deepcopy(dict(parameters)))
    return completed


def _canonical_schema(schema: object) -> str:
    if not isinstance(schema, Mapping):
        raise SchemaInvalidError("A schema must be a JSON object.")
    try:
        canonical = _canonical_json(schema)
    except ValueError as error:
        raise SchemaInvalidError(str(error)) from None
    if len(canonical.encode()) > MAX_SCHEMA_BYTES:
        raise SchemaInvalidError("The schema is larger than 64 KB.")
    return canonical


@functools.lru_cache(maxsize=256)
def _compile(canonical: str) -> jsonschema_rs.Validator:
    schema = json.loads(canonical)
    if schema.get("type", "object") != "object":
        raise SchemaInvalidError("The schema must describe an object: its type is not “object”.")
    draft = schema.get("$schema")
    if draft is not None and (not isinstance(draft, str) or draft.removesuffix("#") not in _DRAFTS):
        raise SchemaInvalidError("“$schema” must name draft 6, 7, 2019-09 or 2020-12.")
    _SchemaWalk(schema).check()
    try:
        return jsonschema_rs.validator_for(
            schema,
            validate_formats=True,
            retriever=_refuse_to_retrieve,
            # The linear-time engine has no look-around and no back-references; a pattern that needs
            # them makes the schema invalid instead of slow.
            pattern_options=jsonschema_rs.RegexOptions(
                size_limit=_MAX_PATTERN_BYTES,
                dfa_size_limit=_MAX_PATTERN_BYTES,
            ),
            # Errors name the parameter, not its value, which may be long.
            mask="The value",
        )
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
        message = getattr(error, "message", None) or str(error)
        raise SchemaInvalidError(f"This is not a usable JSON Schema: {_shorten(message)}") from None


def _refuse_to_retrieve(uri: str) -> NoReturn:
    raise ValueError(f"references to other documents are not followed ({_shorten(uri)})")


class _SchemaWalk:
    """One look at every part of a schema: what it refers to, and how much work it asks for."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._root = schema
        self._costs: dict[str, int] = {}
        self._open: set[str] = set()

    def check(self) -> None:
        """Raise SchemaInvalidError when the schema asks for a fetch, a loop or too much work."""
        if self._cost(self._root, is_root=True) > MAX_SUBSCHEMAS:
            raise self._too_much()

    def _cost(self, node: object, *, is_root: bool = False) -> int:
        """Count the objects below a node with every reference written out."""
        if isinstance(node, list):
            return sum(self._cost(child) for child in node)
        if not isinstance(node, dict):
            return 0
        for keyword in _REFUSED_KEYWORDS & node.keys():
            raise SchemaInvalidError(f"The keyword “{keyword}” is not supported in a model's schema.")
        if not is_root and isinstance(node.get("$id"), str):
            raise SchemaInvalidError("“$id” is supported at the top of a schema only.")
        cost = 1 + sum(self._cost(child) for child in node.values())
        if isinstance(node.get("$ref"), str):
            cost += self._reference_cost(node["$ref"])
        if cost > MAX_SUBSCHEMAS:
            raise self._too_much()
        return cost

    def _reference_cost(self, reference: str) -> int:
        if reference in self._open or reference in ("#", "#/"):
            raise SchemaInvalidError(f"The reference {_shorten(reference)} leads back to itself.")
        if reference not in self._costs:
            self._open.add(reference)
            self._costs[reference] = self._cost(self._resolve(reference))
            self._open.remove(reference)
        return self._costs[reference]

    def _resolve(self, reference: str) -> object:
        if not reference.startswith("#/"):
            raise SchemaInvalidError(
                f"The reference {_shorten(reference)} is not followed: only references within the"
                " schema, such as “#/$defs/size”, are.",
            )
        node: object = self._root
        for step in reference[2:].split("/"):
            key = urllib.parse.unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict) and key in node:
                node = node[key]
            elif isinstance(node, list) and key.isascii() and key.isdigit() and int(key) < len(node):
                node = node[int(key)]
            else:
                raise SchemaInvalidError(f"The reference {_shorten(reference)} leads nowhere.")
        return node

    @staticmethod
    def _too_much() -> SchemaInvalidError:
        return SchemaInvalidError(
            f"With its references written out the schema has more than {MAX_SUBSCHEMAS:,} parts.",
        )


def _explain(error: jsonschema_rs.ValidationError) -> list[tuple[str, str]]:
    """Return pairs of path and sentence for one fault."""
    path = ["parameters", *(str(step) for step in error.instance_path)]
    kind = error.kind
    facts = kind.as_dict()
    if kind.name == "required":
        return [(_join([*path, facts["property"]]), "This parameter is required.")]
    if kind.name == "additionalProperties":
        sentence = "The model does not know this parameter."
        return [(_join([*path, name]), sentence) for name in facts["unexpected"][:_MAX_ERRORS]]
    return [(_join(path), f"{_shorten(error.message)}.")]


def _join(path: list[str]) -> str:
    return _shorten(".".join(path))


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_SENTENCE_LENGTH else f"{text[:_MAX_SENTENCE_LENGTH]}…"


def _canonical_json(value: object) -> str:
    """Return a value's JSON with sorted keys.

    Raises:
        ValueError: With a sentence, when the value is not JSON, nests too deeply, or holds what
            PostgreSQL can't store.
    """
    _check_json(value, depth=0)
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _check_json(value: object, *, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"Values are nested more than {MAX_DEPTH} deep.")
    if isinstance(value, dict):
        for key, child in value.items():
            _check_json_text(key)
            _check_json(child, depth=depth + 1)
    elif isinstance(value, list | tuple):
        for child in value:
            _check_json(child, depth=depth + 1)
    elif isinstance(value, int | float):
        _check_json_number(value)
    elif value is not None:
        _check_json_text(value)


def _check_json_number(value: float) -> None:
    if not isinstance(value, int):
        if not math.isfinite(value):
            raise ValueError("A number is not finite.")
    # Much longer ones can't even be printed: the interpreter refuses above 4,300 digits.
    elif abs(value) >= 10**_MAX_DIGITS:
        raise ValueError(f"A number has more than {_MAX_DIGITS} digits.")


def _check_json_text(value: object) -> None:
    if not isinstance(value, str):
        raise ValueError("A value is not JSON, or a name in an object is not text.")  # noqa: TRY004 - one kind
    if "\x00" in value or _LONE_SURROGATE.search(value):
        raise ValueError("A text holds a NUL character or half of a surrogate pair.")
