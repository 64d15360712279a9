"""What a stage is given, and the contexts it builds its components in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from recipekit.artifacts.key import FileHashes, component_identity, key_of
from recipekit.artifacts.manifest import manifest
from recipekit.artifacts.store import Artifact, Store
from recipekit.component import (
    Context,
    Embeddings,
    Encoder,
    EncoderSpec,
    Progress,
    Ranks,
    Slot,
    Spending,
)
from recipekit.dataset import Dataset
from recipekit.errors import RunError
from recipekit.recipe.sections import TRAINED, Recipe
from recipekit.records import Side

__all__ = ["StageInputs"]


@dataclass
class StageInputs:
    """The artifacts before a stage, and the means to work: seed, ranks, progress, and where
    by-products are kept.
    """

    recipe_name: str
    seed: int
    artifacts: Mapping[str, Artifact]
    """Finished stages, by name."""
    encoders: Mapping[str, Slot[EncoderSpec]]
    """The recipe's encoders, by name."""
    trained: str | None
    """Which of them `trained` is a trained version of, where the recipe trains."""
    store: Store
    hashes: FileHashes
    progress: Progress
    ranks: Ranks = field(default_factory=Ranks)
    recipe_text: str = ""
    """The recipe with every default written out, for model and data cards."""
    description: str = ""
    """The recipe's own sentence on what it is for."""
    command: str = ""
    """The command that repeats the run."""
    run: Path | None = None
    """The run's folder, for what a person is to look at even where the stage fails."""
    uses: list[tuple[str, str]] = field(default_factory=list)
    """By-products that were used, as (stage, key): the manifest names them."""
    _built: dict[str, Encoder] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        store: Store,
        artifacts: Mapping[str, Artifact],
        progress: Progress,
        ranks: Ranks,
    ) -> StageInputs:
        """What a stage of a recipe is given, but for what a run alone knows: its folder, its
        command and the resolved recipe's text.
        """
        return cls(
            recipe_name=recipe.name,
            seed=recipe.seed,
            artifacts=artifacts,
            encoders=recipe.encoders or {},
            trained=recipe.train.encoder if recipe.train else None,
            store=store,
            hashes=FileHashes(store.root / "hashes.json"),
            progress=progress,
            ranks=ranks,
            description=recipe.description,
        )

    @cached_property
    def dataset(self) -> Dataset | None:
        """The collected data, once there is some."""
        found = self.artifacts.get("collect")
        return Dataset(found.path, found.key) if found else None

    def context(self, scratch: Path, spending: Spending | None = None) -> Context:
        """The context for one component, with a scratch folder of its own, and what it may spend."""
        scratch.mkdir(parents=True, exist_ok=True)
        return Context(
            seed=self.seed,
            scratch=scratch,
            progress=self.progress,
            ranks=self.ranks,
            _dataset=self.dataset,
            _corpus=lambda: self._texts("passage"),
            encoder=self.encoder,
            embeddings=self.embeddings,
            artifact=self.artifact,
            spending=spending or Spending(calls=self.store.root / "calls.sqlite"),
            owner=self.store.owner,
        )

    def encoder_spec(self, name: str) -> tuple[EncoderSpec, Any]:
        """An encoder's spec and its identity. `trained` is the recipe's trained one."""
        if name == TRAINED:
            if self.trained is None or "train" not in self.artifacts:
                raise RunError(
                    "there is no trained encoder: this recipe has no train section", code="RK610"
                )
            slot = self.encoders[self.trained]
            train = self.artifacts["train"]
            spec = slot.spec.at(train.path / "encoder")
            return spec, {
                **component_identity(
                    slot.spec, slot.entry.distribution, slot.entry.name, self.hashes
                ),
                "trained": train.key,
            }
        slot = self.encoders[name]
        return slot.spec, component_identity(
            slot.spec, slot.entry.distribution, slot.entry.name, self.hashes
        )

    def encoder(self, name: str) -> Encoder:
        """An encoder by name, built once."""
        if name not in self._built:
            spec, _ = self.encoder_spec(name)
            scratch = Path(self.store.root) / "scratch"
            built = spec.build(self.context(scratch))
            built.to(self.ranks.device)  # type: ignore[attr-defined]
            self._built[name] = built
        return self._built[name]

    def artifact(self, name: str, identity: Any, build: Callable[[Path], None]) -> Path:
        """A by-product of the passages, from the cache or built now (by the main rank, while the
        others wait).
        """
        whole = {"by_product": name, "identity": identity, "corpus": self._texts("passage")}
        key = key_of(whole)

        def build_and_tell(folder: Path) -> dict[str, Any]:
            build(folder)
            return manifest(stage=name, key=key, identity=whole, inputs={}, summary={})

        if self.ranks.is_main:
            self.store.make(name, key, build_and_tell)
        self.ranks.barrier()
        self.uses.append((name, key))
        return self.store.cache / name / key

    def embeddings(self, name: str, side: Side) -> Embeddings:
        """Embeddings of all queries or passages by a named encoder, from the cache or encoded now
        by all ranks together.
        """
        from recipekit.encoding.embed import embed_table, open_embeddings

        assert self.dataset is not None
        _, encoder_identity = self.encoder_spec(name)
        whole = {
            "by_product": "embeddings",
            "encoder": encoder_identity,
            "side": side,
            "texts": self._texts(side),
        }
        key = key_of(whole)
        self.uses.append(("embeddings", key))
        # Several ranks look under the lock alone: without it, an artifact that another run commits
        # just now is there for some of them only, and they would wait for one another at different
        # places.
        if self.ranks.count > 1 or self.store.find("embeddings", key) is None:
            table = self.dataset.queries if side == "query" else self.dataset.passages
            with self.store.making("embeddings", key, is_main=self.ranks.is_main) as partial:
                self.ranks.barrier()
                if self.store.find("embeddings", key) is None:
                    summary = embed_table(
                        self.encoder(name), table, side, partial, self.ranks, self.progress
                    )
                    if self.ranks.is_main:
                        told = manifest(
                            stage="embeddings", key=key, identity=whole, inputs={}, summary=summary
                        )
                        self.store.commit("embeddings", key, told)
            self.ranks.barrier()
        return open_embeddings(self.store.cache / "embeddings" / key)

    def _texts(self, side: Side) -> str:
        """What by-products of a side are keyed by: its file, not the data set's key, in which
        queries and labels count, too.
        """
        assert self.dataset is not None
        hashes = [self.hashes.of(file) for file in self.dataset.files(side)]
        return hashes[0] if len(hashes) == 1 else key_of(hashes)
