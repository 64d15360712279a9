"""`Stage`: everything that recipekit knows about a stage, declared in the stage's own folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipekit.recipe.sections import PaidSection, Section

if TYPE_CHECKING:
    from recipekit.artifacts.store import Artifact
    from recipekit.component import Sizes
    from recipekit.recipe.draft import Draft
    from recipekit.report.blocks import StageReport
    from recipekit.report.run_folder import RunFolder
    from recipekit.stages.estimate_inputs import EstimateInputs
    from recipekit.stages.inputs import StageInputs

__all__ = ["Stage", "lazy"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of the pipeline.

    A stage is a plain function from earlier artifacts to one folder. It does not know about
    caching, processes or the command line: the pipeline reads this declaration instead. In every
    callable, `Any` stands for the stage's own section model.
    """

    name: str
    """The name of the stage, of its section in a recipe, and of its folder in the cache."""
    section: type[Section]
    """The model of its section."""
    run: Callable[[StageInputs, Any, Path], dict[str, Any]]
    """Writes the artifact into a folder and returns its summary: counts, as JSON values."""
    reads: tuple[str, ...] = ()
    """Earlier stages whose artifacts it reads, in addition to those that extend the data set."""
    writes: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Files of its artifact that other stages and exporters may read: paths in its folder, by a
    name that no other stage uses.
    """
    counts: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Counts of its summary that describe a trained model: a label for the dotted path of each."""
    version: int = 1
    """Raise it when the same section and inputs produce another artifact."""
    needs: tuple[str, ...] = ()
    """Sections of the recipe without which it has nothing to work on."""
    ranks: bool = False
    """Whether it computes with torch, on all ranks."""
    trains: bool = False
    """Whether it trains the encoder that later stages call `trained`. Its section names the encoder
    in `encoder`, and its artifact holds the result in `encoder/`.
    """
    exports: bool = False
    """Whether its artifact is what exporters wrote, which `run --export-to` copies. The recipe's
    name and description, which cards have, are part of its key.
    """
    extends_dataset: bool = False
    """Whether it writes queries and labels (the first such stage also passages) that belong to the
    data set of all later stages. Every later stage depends on it.
    """
    rechecks_live: bool = True
    """Whether indices that others may change must still be the same when the stage has finished.

    False for a stage that reads them once.
    """
    sizes: Callable[[Any, Sizes | None], Sizes | None] | None = None
    """For a stage that extends the data set: the expected sizes, given its section and the sizes
    before it, while its artifact does not exist yet. None where they are unknown.
    """
    sizes_key: str = ""
    """The recipe key that `sizes` reads, for a message where sizes are unknown."""
    estimate: Callable[[EstimateInputs, Any], Mapping[str, Any]] | None = None
    """Expected work and cost, by unit, for `plan`."""
    lacks_encoder: Callable[[Draft], bool] | None = None
    """Whether its section, as written, does without the encoder that `encoder` names by default."""
    check: Callable[[Draft], None] | None = None
    """Reports mistakes in its section, as written, that the section's model cannot find alone."""
    describe: Callable[[RunFolder], StageReport] | None = None
    """Its part of the report, read from a run's folder. The stage may not have finished."""
    unfinished: Callable[[Path], Iterable[str]] | None = None
    """States in a few words each what the folder of an interrupted attempt has for the next one."""
    accept: Callable[[Any, Artifact, Path], None] | None = None
    """Raises `RunError` where a finished artifact does not meet the section's present requirements.

    It is called in every run, also for a cached artifact, with the section, the artifact and the
    run's folder.
    """

    @property
    def spends(self) -> bool:
        """Whether it calls paid endpoints: its section is a `PaidSection`.

        Its calls count towards the recipe's spending limits and its own, and its summary has
        `spent`: `usd`, `calls`, and `limit_reached`, whether a limit cut it short.
        """
        return issubclass(self.section, PaidSection)


def lazy(target: str) -> Callable[..., Any]:
    """Return a function that imports `module:function` when it is first called.

    A declaration is imported with every recipe, and must not import numpy, pyarrow or torch.
    """
    module, _, name = target.partition(":")

    def call(*args: Any) -> Any:
        return getattr(import_module(module), name)(*args)

    call.__name__ = name
    return call
