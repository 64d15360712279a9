"""What the conformance checks are made of: calls and values that must keep a promise."""

from __future__ import annotations

import functools
import inspect
import json
import math
import numbers
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from recipekit.component import Component, Context

__all__ = [
    "ConformanceError",
    "build",
    "call",
    "conformance_check",
    "expect",
    "expect_array",
    "expect_dataset",
    "expect_json_map",
    "expect_members",
    "expect_methods",
    "found",
    "is_number",
    "items",
    "member",
    "new_folder",
    "shown",
]

SpecT = TypeVar("SpecT")
T = TypeVar("T")
P = ParamSpec("P")


class ConformanceError(AssertionError):
    """A component breaks a promise of its kind."""


def expect(condition: object, sentence: str) -> None:
    """Raise `ConformanceError(sentence)` unless the condition holds, also with `python -O`."""
    if not condition:
        raise ConformanceError(sentence)


def conformance_check(
    check: Callable[Concatenate[SpecT, P], None],
) -> Callable[Concatenate[SpecT, P], None]:
    """Let a check raise nothing but `ConformanceError`, for any component."""

    @functools.wraps(check)
    def checked(spec: SpecT, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            check(spec, *args, **kwargs)
        except ConformanceError:
            raise
        except Exception as error:
            name = spec.__name__ if isinstance(spec, type) else type(spec).__name__
            kind = check.__name__.removeprefix("check_")
            raise ConformanceError(
                f"{name} returns something that cannot be used as a {kind}: {_reason(error)}; see "
                "the Protocols in recipekit.component"
            ) from error

    return checked


def call(name: str, expected: str, function: Callable[[], T]) -> T:
    """Call a component, and name the member and what it promises if it raises.

    Args:
        name: The member, such as `SharedWords.search()`.
        expected: What it promises, such as `it must return Hits`.
        function: The call.
    """
    try:
        return function()
    except ConformanceError:
        raise
    except (Exception, SystemExit) as error:
        raise ConformanceError(f"{name} raises {_reason(error)}; {expected}") from error


def _reason(error: BaseException) -> str:
    message = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def found(value: object) -> str:
    """Describe a value for a message: its type, and with an array its dtype and shape."""
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    dtype, shape = getattr(value, "dtype", None), getattr(value, "shape", None)
    if dtype is not None and isinstance(shape, tuple):
        return f"a {dtype} {type(value).__name__} of shape {tuple(shape)}"
    kind = type(value).__name__
    return f"{'an' if kind[:1].lower() in 'aeiou' else 'a'} {kind}"


def shown(value: object) -> str:
    """Return a short value as written in Python, and describe any other."""
    text = repr(value) if isinstance(value, str | int | float | tuple | dict | Path) else ""
    return text if 0 < len(text) <= 80 and "\n" not in text else found(value)


def new_folder(context: Context, name: str) -> Path:
    """Make an empty folder in the scratch folder, also when a check runs again."""
    context.scratch.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=context.scratch))


def member(name: str, built: object, attribute: str, expected: str) -> Any:
    """Return an attribute of a built object, whose property may raise."""
    return call(f"{name}.{attribute}", expected, lambda: getattr(built, attribute))


def items(name: str, expected: str, produced: Callable[[], Iterable[T]]) -> list[T]:
    """Return everything that an iterator of a component yields."""
    iterable = call(name, expected, produced)
    is_iterable = isinstance(iterable, Iterable) and not isinstance(iterable, str | bytes | Mapping)
    expect(is_iterable, f"{name} returns {found(iterable)}; {expected}")
    return call(name, expected, lambda: list(iterable))


def expect_methods(name: str, built: object, protocol: type, *methods: str) -> None:
    """Expect the methods of a Protocol that every component of the kind defines."""
    for method in methods:
        promised = _import_name(protocol)
        function = call(
            f"{name}.{method}",
            f"it must be a method, see {promised}",
            functools.partial(getattr, built, method, None),
        )
        # A class that names the Protocol as its base inherits methods that do nothing.
        own = getattr(type(built), method, None)
        defined = callable(function) and own is not getattr(protocol, method, None)
        expect(
            defined,
            f"{name} builds {found(built)} that does not define {method}(), which {promised} "
            "requires",
        )


def _import_name(protocol: type) -> str:
    """Return the name by which a plugin imports a Protocol."""
    package = "recipekit.component"
    module = protocol.__module__
    return f"{package if module.startswith(package) else module}.{protocol.__name__}"


def expect_members(name: str, built: object, protocol: type, *members: str) -> None:
    """Expect the members of a Protocol that have defaults in it."""
    for attribute in members:
        present = call(
            f"{name}.{attribute}",
            f"see {_import_name(protocol)}",
            functools.partial(hasattr, built, attribute),
        )
        expect(
            present,
            f"{name} builds {found(built)} without {attribute}: make it a subclass of "
            f"{_import_name(protocol)}, which has defaults",
        )


def expect_json_map(name: str, value: object) -> None:
    """Expect a mapping from texts to JSON values."""
    expected = "a mapping of names to JSON values is expected"
    is_map = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    expect(is_map, f"{name} is {found(value)}; {expected}")
    assert isinstance(value, Mapping)
    try:
        json.dumps(dict(value))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConformanceError(
            f"{name} has a value that is not JSON ({_reason(error)}); {expected}"
        ) from error


def expect_array(name: str, value: object, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    """Expect a NumPy array of a shape and dtype; an abstract dtype admits those below it."""
    kind = "integer" if dtype is np.integer else np.dtype(dtype).name
    fits = (
        isinstance(value, np.ndarray) and value.shape == shape and np.issubdtype(value.dtype, dtype)
    )
    sizes = f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
    expect(fits, f"{name} is {found(value)}; a {kind} array of shape {sizes} is expected")


def expect_dataset(name: str, context: Context) -> None:
    """Expect a context with a data set, which the check needs."""
    expect(
        context._dataset is not None,
        f"{name} is checked on a data set: pass context(folder, dataset=small_dataset(...))",
    )


def build(spec: Component[Any], protocol: type, context: Context) -> Any:
    """Build a component."""
    name = type(spec).__name__
    expected = f"it must return a {protocol.__name__}"
    built = call(f"{name}.build()", expected, lambda: spec.build(context))
    expect(
        built is not None and not inspect.isclass(built),
        f"{name}.build() returns {found(built)}; {expected}",
    )
    return built


def is_number(value: object) -> bool:
    """Whether a value is a finite number, but no bool."""
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)
    return is_real and math.isfinite(float(value))  # type: ignore[arg-type]
