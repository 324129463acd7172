"""Settings as values: a function with its arguments filled in that prints, compares, and runs.

`poisson(0.5)` is a value; `poisson(0.5)(seed, M, N)` draws. Experiments are made of such values, so
that two runs can be compared field by field, and a run folder can say what it was made from.
"""

import ast
import dataclasses
import functools
import hashlib
import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

F = TypeVar("F", bound=Callable)


def _name(function: Callable) -> str:
    module = function.__module__
    if module == "__main__" and (spec := getattr(sys.modules["__main__"], "__spec__", None)):
        module = spec.name.removesuffix(".__main__")
    return f"{module}.{function.__qualname__}"


class Value:
    """A function that was made by a `factory`, and remembers from what."""

    def __init__(self, build: Callable, args: tuple, kwargs: dict) -> None:
        bound = inspect.signature(build).bind(*args, **kwargs)
        self._call = (args, kwargs)
        self._function = build(*args, **kwargs)
        bound.apply_defaults()
        self.factory = build
        self.arguments = dict(bound.arguments)

    def __call__(self, *args, **kwargs):
        """Does the work that the settings describe."""
        return self._function(*args, **kwargs)

    def takes(self, name: str) -> bool:
        """Whether the function itself has a parameter of this name."""
        return name in inspect.signature(self._function).parameters

    def with_arguments(self, **changes: Any) -> "Value":
        """The same with some arguments changed."""
        signature = inspect.signature(self.factory)
        bound = inspect.BoundArguments(signature, dict(self.arguments) | changes)  # type: ignore[arg-type]
        usual = {k: p.default for k, p in signature.parameters.items()}
        kwargs = {k: v for k, v in bound.kwargs.items() if usual.get(k, v) is not v}
        return Value(self.factory, bound.args, kwargs)

    def __reduce__(self) -> tuple:
        """How another process makes it: by its module's function, from the same settings."""
        return _remake, (self.factory.__module__, self.factory.__qualname__, *self._call)

    def __repr__(self) -> str:
        args, kwargs = self._call
        parts = [_argument(a) for a in args] + [f"{k}={_argument(v)}" for k, v in kwargs.items()]
        return f"{self.factory.__name__}({', '.join(parts)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Value) and describe(self) == describe(other)

    def __hash__(self) -> int:
        return hash(describe(self))


def _argument(argument: Any) -> str:
    """An argument as it was written: a function by its name."""
    return argument.__name__ if inspect.isfunction(argument) else repr(argument)


def _remake(module: str, name: str, args: tuple, kwargs: dict) -> Value:
    return getattr(importlib.import_module(module), name)(*args, **kwargs)


def factory(build: F) -> F:
    """Decorates `build(settings) -> function`, so that calling it gives a `Value`.

    `build` itself runs at once: it checks its settings and must leave the work to the function.
    """

    @functools.wraps(build)
    def settle(*args, **kwargs):
        return Value(build, args, kwargs)

    settle.makes_values = True  # type: ignore[attr-defined]
    return settle  # type: ignore[return-value]


def factories(module: Any) -> dict[str, Callable]:
    """The factories that a module or package offers, by name."""
    public = ((name, v) for name, v in vars(module).items() if not name.startswith("_"))
    return {name: v for name, v in public if getattr(v, "makes_values", False)}


def describe(value: Any) -> Any:
    """A value as JSON holds it: the same text or tree for equal settings, another for others.

    A dataclass's field whose metadata say `"described": False` is left out. Raises `ValueError` for
    a lambda or a nested function, which have no name to compare by.
    """
    if isinstance(value, Value):
        arguments = ", ".join(f"{k}={_text(v)}" for k, v in value.arguments.items())
        return f"{_name(value.factory)}({arguments})"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in dataclasses.fields(value) if f.metadata.get("described", True)]
        return {name: describe(getattr(value, name)) for name in names}
    if isinstance(value, (np.ndarray, np.generic)) and np.ndim(value):
        array = np.ascontiguousarray(value)
        digest = hashlib.sha256(array.tobytes()).hexdigest()[:16]
        return f"{array.dtype}{list(array.shape)} sha256:{digest}"
    if isinstance(value, np.generic):
        return value.item()
    if not callable(value) and isinstance(shape := getattr(value, "shape", None), tuple):
        return f"{type(value).__name__}{list(shape)}"  # a table: its records are nobody's to read
    if isinstance(value, (list, tuple)):
        return [describe(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): describe(v) for k, v in value.items()}
    if callable(value):
        name = _name(value) if hasattr(value, "__qualname__") else ""
        if not name or "<" in name:
            raise ValueError(f"{value!r} has no name to compare by: make it a module's function")
        return name
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return repr(value)


def _text(value: Any) -> str:
    described = describe(value)
    return described if isinstance(value, Value) or callable(value) else repr(described)


def parse(text: str, functions: Mapping[str, Callable], field: str = "value") -> Any:
    """The value that prints as `text`, such as `poisson(0.5)`: a name of `functions`, literals.

    A name may be written with its module. Raises `ValueError`, naming the field, for anything else;
    nothing but these functions is called.
    """
    allowed = f"one of {', '.join(sorted(functions))}, with literal arguments"
    wrong = f"{field}: {text[:200]!r} is not {allowed}"
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if not isinstance(node, (ast.Name, ast.Attribute, ast.Call)):
            raise LookupError(text)
        return _evaluated(node, functions)
    except (SyntaxError, RecursionError, MemoryError, LookupError) as error:
        raise ValueError(wrong) from error
    except TypeError as error:
        raise ValueError(f"{field}: {text[:200]!r}: {error}") from error


def _evaluated(node: ast.expr, functions: Mapping[str, Callable]) -> Any:
    call = node if isinstance(node, ast.Call) else None
    name = call.func if call else node
    if isinstance(name, ast.Attribute):
        name = ast.Name(name.attr)
    if isinstance(name, ast.Name):
        if call is None:
            return functions[name.id]
        args = [_evaluated(a, functions) for a in call.args]
        kwargs = {k.arg: _evaluated(k.value, functions) for k in call.keywords if k.arg}
        return functions[name.id](*args, **kwargs)
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise LookupError(str(error)) from error
