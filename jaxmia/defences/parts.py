"""Recipes changed in one place: a setting of the loss or of the network, however deep it lies."""

from collections.abc import Callable
from typing import Any

from jaxmia.values import Value


def holds(value: Any, name: str) -> bool:
    """Whether a value was made by the factory of this name, or holds one that was."""
    return part(value, name) is not None


def part(value: Any, name: str) -> Value | None:
    """The value itself, or the first of its parts, that the factory of this name made."""
    if not isinstance(value, Value) or value.factory.__name__ == name:
        return value if isinstance(value, Value) else None
    parts = (part(v, name) for v in value.arguments.values())
    return next((p for p in parts if p is not None), None)


def with_setting(value: Any, name: str, setting: Any) -> Any:
    """A value whose parts that know a setting have it changed.

    Raises `ValueError` if no part does.
    """
    variant = _variant(
        value, lambda v: name in v.arguments, lambda v: v.with_arguments(**{name: setting})
    )
    if variant is None:
        raise ValueError(f"{value!r} has no setting {name!r}, nor has any part of it")
    return variant


def swapped(value: Any, name: str, make: Callable[[Value], Any]) -> Any:
    """A value whose parts made by the factory of this name give way to another.

    Raises `ValueError` if there is none.
    """
    variant = _variant(value, lambda v: v.factory.__name__ == name, make)
    if variant is None:
        raise ValueError(f"{value!r} holds no {name}, whose place it would take")
    return variant


def _variant(value: Any, matches: Callable[[Value], bool], make: Callable[[Value], Any]) -> Any:
    """The value with the matching parts made anew, or None if it has none."""
    if not isinstance(value, Value):
        return None
    if matches(value):
        return make(value)
    parts = {k: _variant(v, matches, make) for k, v in value.arguments.items()}
    parts = {k: v for k, v in parts.items() if v is not None}
    return value.with_arguments(**parts) if parts else None
