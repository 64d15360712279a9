"""`Slot`, a field of a section or of a component that holds another component."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, PrivateAttr
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema

from recipekit.component.spec import Component
from recipekit.errors import error_location

if TYPE_CHECKING:
    from recipekit.component.context import Context
    from recipekit.component.entry import Entry

__all__ = ["Slot", "SlotType", "slot_type"]

Built = TypeVar("Built")
SpecT = TypeVar("SpecT", bound="Component[Any]", covariant=True)


class Slot(BaseModel, Generic[SpecT]):
    """A component as a recipe names it: `use`, and the component's own keys next to it.

    Write `loss: Slot[LossSpec]` for a field that holds a loss. `Slot[X] | None`,
    `dict[str, Slot[X]]`, `tuple[Slot[X], ...]` and defaults (`= Slot(use="infonce")`) work, too.
    A slot is bound when its recipe is loaded: `spec` is then the validated component.
    """

    model_config = ConfigDict(frozen=True, extra="allow", defer_build=True)

    use: str
    """Which component: its name, `distribution/name`, `./file.py:Class` for local code, or the path
    of another component of the recipe, whose keys are then copied: `mine.retrievers.dense`."""
    _spec: Component[Any] | None = PrivateAttr(default=None)
    _entry: Any = PrivateAttr(default=None)
    _name: str = PrivateAttr(default="")
    _path: str = PrivateAttr(default="")

    def __class_getitem__(cls, spec: Any) -> Any:
        """An annotation that carries the type of the spec; all slots are one pydantic model."""
        return cls if isinstance(spec, TypeVar) else Annotated[cls, SlotType(spec)]

    @property
    def fields(self) -> dict[str, Any]:
        """The component's keys as they were written."""
        return dict(self.model_extra or {})

    @property
    def spec(self) -> SpecT:
        """The validated component."""
        assert self._spec is not None, "a slot is bound when its recipe is loaded"
        return self._spec  # type: ignore[return-value]

    @property
    def entry(self) -> Entry:
        """The entry point that `use` names."""
        assert self._entry is not None, "a slot is bound when its recipe is loaded"
        return self._entry  # type: ignore[no-any-return]

    def bind(self, entry: Entry, spec: Component[Any], name: str = "", path: str = "") -> None:
        """Attach the entry point and the validated component; the loader calls it once.

        Args:
            entry: The entry point that `use` names.
            spec: The validated component.
            name: The slot's name below its owner, such as `inner` or `losses.first`.
            path: The slot's path in the recipe, such as `train.phases.first.loss.inner`.
        """
        self._entry, self._spec, self._name, self._path = entry, spec, name, path

    def build(self: Slot[Component[Built]], context: Context) -> Built:
        """Build the component, with its own folder below `context.scratch`.

        Raises:
            ComponentError: What it builds lacks a member that its spec declares.
        """
        scratch = context.scratch / (self._name or self.entry.name)
        scratch.mkdir(parents=True, exist_ok=True)
        built = self.spec.build(replace(context, scratch=scratch))
        with error_location(lambda: self._path or self.use):
            self.spec.check_built(built)
        return built

    def __eq__(self, other: object) -> bool:
        """Slots are equal when they hold equal components, whichever defaults were written out."""
        if not isinstance(other, Slot) or self._spec is None or other._spec is None:
            return super().__eq__(other)
        same = (self.entry.kind, self.entry.distribution, self.entry.name) == (
            other.entry.kind,
            other.entry.distribution,
            other.entry.name,
        )
        return same and bool(self._spec == other._spec)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True)
class SlotType:
    """The annotation of a slot: the spec class that its component must be an instance of."""

    spec: type[Component[Any]]

    @property
    def kind(self) -> str:
        """The kind of component that the slot holds."""
        return self.spec.kind

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """An object that names the kind; `recipe.schema` replaces it by that kind's components."""
        return {"type": "object", "component": self.kind}


def slot_type(field: FieldInfo | Any) -> SlotType | None:
    """The type of the slots in a field or an annotation; None if there are none."""

    def inside(annotation: Any) -> Iterator[SlotType]:
        for part in get_args(annotation):
            if isinstance(part, SlotType):
                yield part
            else:
                yield from inside(part)

    if not isinstance(field, FieldInfo):
        return next(inside(field), None)
    marks = (mark for mark in field.metadata if isinstance(mark, SlotType))
    return next(marks, None) or next(inside(field.annotation), None)
