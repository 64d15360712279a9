"""The lock of a recipe: everything that a result depends on, in a file that people can compare.

A lock holds no secret: identities leave out every field in which `${env:NAME}` is allowed.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any, Final, Self

from recipekit import stages
from recipekit.artifacts.key import FileHashes
from recipekit.artifacts.manifest import versions
from recipekit.artifacts.storage_errors import explained
from recipekit.errors import StoreError
from recipekit.pipeline.identity import stage_identity
from recipekit.pipeline.identity_parts import identity_parts
from recipekit.recipe.sections import Recipe
from recipekit.recipe.shipped import shipped
from recipekit.recipe.slots import all_slots
from recipekit.report.paths import path_from_here
from recipekit.yaml_format import dump, parse

__all__ = ["FORMAT", "Lock", "lock_file", "lock_parts", "lock_recipe", "read_lock", "write_lock"]

FORMAT: Final = 1
PACKAGE: Final = "package:"
"""How the name of a model in an installed package starts."""
HEADER: Final = "# Written by `recipekit lock`. `recipekit run --locked` accepts nothing else.\n"
SECTIONS: Final = (
    "python", "device", "versions", "files", "revisions", "indices", "data", "results", "settings",
)  # fmt: skip
"""The parts of a lock, in the order of the file."""


@dataclass(frozen=True)
class Lock:
    """Everything that the result of a recipe depends on."""

    recipe: str
    """The recipe's name."""
    python: str
    """The version of Python."""
    device: str
    """The class of device: `cpu`, `cuda` or `mps`."""
    versions: Mapping[str, str]
    """Versions of the distributions that affect results, with those of plugins."""
    files: Mapping[str, str] = field(default_factory=dict)
    """The sha256 of local files and folders, by their path in the recipe."""
    revisions: Mapping[str, Any] = field(default_factory=dict)
    """Commits on the Hub, by the path of the component."""
    indices: Mapping[str, Any] = field(default_factory=dict)
    """Fingerprints of existing indices and collections, by the path of the component."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Rows and sha256 of the collected queries, passages and labels; empty before collect."""
    results: Mapping[str, int] = field(default_factory=dict)
    """Versions of what stages and components compute, by path."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Every key of the recipe that affects results, with its default."""

    def as_yaml(self) -> str:
        """Return the text of the lock's file."""
        values: dict[str, Any] = {"lock": FORMAT, "recipe": self.recipe}
        for name in SECTIONS:
            value = getattr(self, name)
            values[name] = _sorted(value) if isinstance(value, Mapping) else value
        return HEADER + dump(values)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Self:
        """Make a lock from the content of its file.

        Raises:
            ValueError: A part is missing or has another type.
        """
        for name in ("recipe", *SECTIONS):
            kind = str if name in ("recipe", "python", "device") else dict
            if not isinstance(values.get(name), kind):
                raise ValueError(f"'{name}' is missing or has another type")
        return cls(**{name: values[name] for name in ("recipe", *SECTIONS)})


def _sorted(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _sorted(value) if isinstance(value, Mapping) else value
        for name, value in sorted(values.items())
    }


def lock_recipe(
    recipe: Recipe,
    *,
    device: str,
    hashes: FileHashes | None = None,
    data: Mapping[str, Any] | None = None,
) -> Lock:
    """Return the lock of a recipe on this machine.

    Args:
        recipe: A loaded recipe.
        device: The class of device that computes.
        hashes: Content hashes of files.
        data: The collected data, from `data_hashes`.

    Raises:
        DataError: A local file that the recipe names is missing.
        ComponentError: A revision or index cannot be looked up.
    """
    hashes = hashes or FileHashes()
    sections = dict(recipe.stages())
    identities = [
        stage_identity(recipe, stage, sections[stage.name], {}, hashes)
        for stage in stages.PIPELINE
        if stage.name in sections
    ]
    return Lock(
        recipe=recipe.name,
        python=platform.python_version(),
        device=device,
        versions=_versions(recipe),
        data=data or {},
        **lock_parts(identities, _live(recipe)),
    )


def lock_parts(
    identities: Iterable[Mapping[str, Any]], live: Collection[str] = ()
) -> dict[str, dict[str, Any]]:
    """Return files, revisions, indices, results and settings of a lock.

    Args:
        identities: The identities of stages.
        live: The paths of components whose fingerprint is that of an index.
    """
    found: dict[str, dict[str, Any]] = {
        name: {} for name in ("files", "revisions", "indices", "results", "settings")
    }
    names = {"setting": "settings", "version": "results", "file": "files"}
    for identity in identities:
        for part in identity_parts(identity):
            if part.kind == "fingerprint":
                section = "indices" if part.path in live else "revisions"
            else:
                section = names[part.kind]
            found[section][part.path] = part.value
    return found


def _live(recipe: Recipe) -> set[str]:
    """Return the paths of components that use an index which others can change."""
    return {
        ".".join(map(str, path))
        for name, section in recipe.stages()
        for path, slot in all_slots(section, (name,))
        if slot.spec.live
    }


def _versions(recipe: Recipe) -> dict[str, str]:
    """Return the versions of the distributions that matter.

    Those of plugins, of models that come as packages, and those that components name are among
    them.
    """
    found = {name: version for name, version in versions().items() if name != "python"}
    slots = [slot for _, slot in all_slots(recipe)]
    for slot in slots:
        if slot.entry.file is None:
            found.setdefault(slot.entry.distribution, slot.entry.distribution_version)
        for name in slot.spec.distributions():
            with suppress(PackageNotFoundError):
                found.setdefault(name, version(name))
    packages = {
        value.removeprefix(PACKAGE).partition("/")[0]
        for slot in slots
        for value in vars(slot.spec).values()
        if isinstance(value, str) and value.startswith(PACKAGE)
    }
    known = packages_distributions() if packages else {}
    for name in (name for package in packages for name in known.get(package, ())):
        found.setdefault(name, version(name))
    return found


def lock_file(recipe: Recipe) -> Path:
    """Return where the lock of a recipe is: `recipe.lock` next to `recipe.yaml`.

    That of a shipped recipe, or of one that is not in a file, is in the current folder.
    """
    path = recipe.origin.path
    if path is None:
        return Path(f"{recipe.name}.lock")
    if path in shipped().values():
        return Path(f"{path.stem}.lock")
    return path_from_here(path.with_suffix(".lock"))


def read_lock(path: Path, recipe: str | None = None) -> Lock:
    """Read a lock.

    Args:
        path: Its file.
        recipe: The name of the recipe that it must belong to.

    Raises:
        StoreError: There is no such file, it is not a lock, or it is that of another recipe.
    """
    try:
        values = parse(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or "lock" not in values:
            raise ValueError("it has no key 'lock'")
        if values["lock"] != FORMAT:
            raise ValueError(f"its format is {values['lock']}, and this recipekit reads {FORMAT}")
        lock = Lock.from_values(values)
    except FileNotFoundError as error:
        raise StoreError(
            f"{path}: there is no lock; `recipekit lock` with the recipe writes it", code="RK520"
        ) from error
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror})", code="RK521") from error
    except ValueError as error:
        reason = str(error).partition("\n")[0]
        raise StoreError(f"{path}: not a recipekit lock: {reason}", code="RK521") from error
    if recipe is not None and lock.recipe != recipe:
        raise StoreError(
            f"{path}: is the lock of another recipe, '{lock.recipe}'; `recipekit lock` writes one "
            f"for '{recipe}'",
            code="RK522",
        )
    return lock


def write_lock(path: Path, lock: Lock) -> None:
    """Write a lock.

    Raises:
        StoreError: The file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with explained(path.parent, path):
        temporary.write_text(lock.as_yaml(), encoding="utf-8")
        temporary.replace(path)
