"""The text form of a pipeline: `sbc{sparsity=0.9},quantize{bits=8}` and TOML recipes, to and from pass values."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from spikec.compiler.diagnostics import CompileError, Diagnostic, Findings, fail
from spikec.compiler.pipeline import Pass

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Registry = Mapping[str, type[Any]]

_ITEM = re.compile(r"\s*(?P<name>[A-Za-z0-9_.-]+)\s*(?:\{(?P<options>[^{}]*)\})?\s*")


def parse(text: str, known: Registry) -> tuple[Pass, ...]:
    """Read the text form; all unknown names and options at once.

    Raises:
        CompileError: the text is not a pipeline, or names what does not exist.
    """
    found = Findings()
    passes: list[Pass] = []
    for name, options in _items(text):
        with found.catching():
            passes.append(build(name, options, known))
    found.raise_errors()
    return tuple(passes)


def parse_recipe(path: str | Path, known: Registry) -> tuple[Pass, ...]:
    """Read a TOML recipe: one `[[pass]]` table a pass, with its `name` and its options."""
    file = Path(path)
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise fail("recipe/unreadable", f"cannot read the recipe: {error.strerror}", str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise fail("recipe/unreadable", f"not a TOML file: {error}", str(path)) from error
    found = Findings()
    passes: list[Pass] = []
    for extra in sorted(set(document) - {"pass"}):
        found(
            Diagnostic("recipe/unknown-key", f"a recipe has no '{extra}'", str(path), "write one [[pass]] table a pass")
        )
    for table in document.get("pass", []):
        with found.catching():
            passes.append(build(str(table.get("name", "")), {k: v for k, v in table.items() if k != "name"}, known))
    found.raise_errors()
    return tuple(passes)


def build(name: str, options: Mapping[str, Any], known: Registry) -> Pass:
    """Make one pass from its name and options (values as text, or already of their type).

    Raises:
        CompileError: unknown name, unknown option, or a value that is not of the option's type.
    """
    if name not in known:
        help = _nearest(name, known, "pass") + "; `spikec passes` lists them"
        raise fail("pipeline/unknown-pass", f"there is no pass '{name}'", help=help)
    cls = known[name]
    hints = get_type_hints(cls)
    fields_of = {f.name.replace("_", "-"): f for f in fields(cls) if f.init}
    found = Findings()
    given: dict[str, Any] = {}
    for key, value in options.items():
        option = fields_of.get(key.replace("_", "-"))
        if option is None:
            help = _nearest(key, fields_of, "option")
            found(Diagnostic("pipeline/unknown-option", f"pass '{name}' has no option '{key}'", help=help))
            continue
        try:
            given[option.name] = _convert(value, hints[option.name])
        except ValueError as error:
            found(Diagnostic("pipeline/bad-option", f"option '{key}' of pass '{name}': {error}"))
    for key, option in fields_of.items():
        if _required(option) and option.name not in given and key not in options:
            found(Diagnostic("pipeline/missing-option", f"pass '{name}' needs the option '{key}'"))
    found.raise_errors()
    try:
        made: Pass = cls(**given)
    except ValueError as error:
        raise fail("pipeline/bad-option", f"pass '{name}': {error}") from error
    return made


def describe(step: Pass) -> str:
    """Give the text form of a pass: its name, and the options that differ from their defaults.

    Options that change how the work is done and not what comes of it (`metadata={"result": False}`) are left out.
    """
    changed = [
        f"{f.name.replace('_', '-')}={as_text(getattr(step, f.name))}"
        for f in fields(cast(Any, step))
        if getattr(step, f.name) != f.default and f.metadata.get("result", True)
    ]
    return step.name + (f"{{{','.join(changed)}}}" if changed else "")


def _items(text: str) -> list[tuple[str, dict[str, str]]]:
    """Split the text into names and options."""
    items: list[tuple[str, dict[str, str]]] = []
    position = 0
    while position < len(text.rstrip()):
        match = _ITEM.match(text, position)
        if match is None:
            raise _bad_text(text, position)
        options: dict[str, str] = {}
        for part in filter(None, (p.strip() for p in (match["options"] or "").split(","))):
            key, equals, value = part.partition("=")
            if not equals:
                raise fail("pipeline/bad-text", f"'{part}' in '{match['name']}' is not option=value", text)
            options[key.strip()] = value.strip()
        items.append((match["name"], options))
        position = match.end()
        if position < len(text):
            if text[position] != ",":
                raise _bad_text(text, position)
            position += 1
    return items


def _bad_text(text: str, position: int) -> CompileError:
    help = "write names with options in braces, separated by commas: fold,quantize{bits=8}"
    return fail(
        "pipeline/bad-text", f"cannot read the pipeline from character {position + 1}: '{text[position:]}'", text, help
    )


def _nearest(name: str, known: Mapping[str, Any], what: str) -> str:
    close = get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(sorted(known)) or 'none'}"


def _required(option: Field[Any]) -> bool:
    return option.default is MISSING and option.default_factory is MISSING


def _convert(value: Any, kind: Any) -> Any:
    """Turn text into the type of an option: int, float, bool, str, a Literal, an optional or a tuple of these."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value in (None, "none") and type(None) in arguments:
            return None
        return _first_fit(value, [a for a in arguments if a is not type(None)])
    if origin is Literal:
        matching = [a for a in arguments if str(a) == str(value)]
        if not matching:
            raise ValueError(f"'{value}' is none of {', '.join(map(str, arguments))}")
        return matching[0]
    if origin is tuple:
        parts = value if isinstance(value, list | tuple) else [p for p in str(value).split("+") if p]
        return tuple(_convert(part, arguments[0]) for part in parts)
    return _convert_plain(value, kind)


def _convert_plain(value: Any, kind: Any) -> Any:
    if kind is bool:
        if str(value).lower() not in ("true", "false", "1", "0"):
            raise ValueError(f"'{value}' is not true or false")
        return str(value).lower() in ("true", "1")
    if kind in (int, float):
        try:
            return kind(value)
        except (TypeError, ValueError):
            raise ValueError(f"'{value}' is not {'a whole number' if kind is int else 'a number'}") from None
    return str(value)


def _first_fit(value: Any, kinds: list[Any]) -> Any:
    problems = []
    for kind in kinds:
        try:
            return _convert(value, kind)
        except ValueError as error:
            problems.append(str(error))
    raise ValueError("; ".join(problems))


def as_text(value: Any) -> str:
    """Give the text form of an option's value."""
    if isinstance(value, tuple):
        return "+".join(map(str, value))
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return str(value)
