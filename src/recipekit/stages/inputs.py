"""What a stage's function receives, and the contexts that it builds its components in."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from recipekit import stages
from recipekit.artifacts.key import FileHashes
from recipekit.artifacts.store import Artifact, Store
from recipekit.component import (
    Context,
    CrossEncoder,
    Embeddings,
    Encoder,
    EncoderSpec,
    EncoderWeights,
    Progress,
    Ranks,
    SingleProcess,
    Slot,
    Spending,
)
from recipekit.errors import RunError, error_location
from recipekit.recipe.sections import TRAINED, Recipe
from recipekit.stages.by_products import ByProducts
from recipekit.stages.dataset_view import dataset_view, texts_key
from recipekit.stages.recipe_encoders import RecipeEncoders
from recipekit.stages.stored_vectors import StoredVectors
from recipekit.tables import read_table

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import nn

    from recipekit.arrays import Floats, Rows
    from recipekit.dataset import Dataset
    from recipekit.encoding.tokens import TokenizedTexts
    from recipekit.records import Side

__all__ = ["StageInputs"]


@dataclass
class StageInputs:
    """The artifacts of earlier stages, the seed, the ranks, progress, and by-products."""

    recipe_name: str
    seed: int
    artifacts: Mapping[str, Artifact]
    """Finished artifacts, by stage."""
    encoders: Mapping[str, Slot[EncoderSpec]]
    """The recipe's encoders, by name."""
    trained: str | None
    """The encoder that the recipe trains, if any: later stages call the result `trained`."""
    store: Store
    hashes: FileHashes
    progress: Progress
    ranks: Ranks = field(default_factory=SingleProcess)
    recipe_text: str = ""
    """The recipe with every default written out, for model and data cards."""
    description: str = ""
    """The recipe's own description."""
    recipe_folder: Path | None = None
    """The folder of the recipe."""
    command: str = ""
    """The command that repeats the run."""
    trust_remote_code: bool = False
    """Whether models that bring Python code may run it."""
    run: Path | None = None
    """The run's folder, for files that the user needs even if the stage fails."""
    spending: Spending = field(default_factory=Spending)
    """What the stage's components may spend together."""
    by_products: list[tuple[str, str]] = field(default_factory=list)
    """By-products that were used, as (kind, key), for the manifest."""
    _built: dict[tuple[str, bool], Encoder] = field(default_factory=dict)
    _prepared: set[tuple[str, bool]] = field(default_factory=set)

    @classmethod
    def of(
        cls,
        recipe: Recipe,
        store: Store,
        artifacts: Mapping[str, Artifact],
        progress: Progress,
        ranks: Ranks,
    ) -> StageInputs:
        """Return the inputs of a stage of a recipe, outside a run.

        Only a run has `recipe_text`, `command` and `run`.
        """
        return cls(
            recipe_name=recipe.name,
            seed=recipe.seed,
            artifacts=artifacts,
            encoders=recipe.encoders or {},
            trained=stages.trained_encoder(recipe),
            store=store,
            hashes=FileHashes(store.root / "hashes.json"),
            progress=progress,
            ranks=ranks,
            description=recipe.description,
            trust_remote_code=recipe.origin.trust_remote_code,
        )

    def with_encoders(
        self,
        encoders: Mapping[str, Slot[EncoderSpec]],
        trained: str | None,
        artifacts: Mapping[str, Artifact],
    ) -> StageInputs:
        """Return inputs with other encoders and artifacts, which count their own by-products."""
        return replace(
            self,
            encoders=encoders,
            trained=trained,
            artifacts=artifacts,
            by_products=[],
            _built={},
            _prepared=set(),
        )

    @cached_property
    def dataset(self) -> Dataset | None:
        """The data set of the recipe; None before there is one."""
        return dataset_view(self.artifacts)

    @property
    def files(self) -> dict[str, Path]:
        """The files that earlier stages wrote for others, by the names in their declarations."""
        return stages.files_of(self.artifacts)

    def table(self, name: str) -> pa.Table | None:
        """Read a table that an earlier stage wrote, by its name; None if there is none."""
        file = self.files.get(name)
        return read_table(file) if file else None

    def context(
        self,
        scratch: Path,
        *,
        weights: EncoderWeights | None = None,
        query_rows: Rows | None = None,
        encodes_all: bool = False,
    ) -> Context:
        """Return the context for one component.

        Args:
            scratch: The component's own folder, which survives a crash.
            weights: The weights that it gets of an encoder if it names none.
            query_rows: The queries that it is asked about; None for all.
            encodes_all: Encode all queries nevertheless, since later stages need the others.
                Vectors that exist already are read only for `query_rows`.
        """
        scratch.mkdir(parents=True, exist_ok=True)
        return Context(
            seed=self.seed,
            scratch=scratch,
            progress=self.progress,
            ranks=self.ranks,
            _dataset=self.dataset,
            _corpus=lambda: self._texts("passage"),
            encoder=partial(self._encoder_for, weights),
            embeddings=partial(self._embeddings_for, weights, encodes_all),
            pair_scores=self.pair_scores,
            query_rows=query_rows,
            artifact=self.artifact,
            spending=replace(self.spending, calls=self.store.calls),
            owner=self.store.owner,
            library_cache=self.store.root / "libraries",
            trust_remote_code=self.trust_remote_code,
        )

    def _encoder_for(
        self,
        default: EncoderWeights | None,
        name: str,
        *,
        weights: EncoderWeights | None = None,
    ) -> Encoder:
        """Return an encoder for a component, with default weights unless it is `trained`."""
        return self.encoder(name, weights=weights or (default if name != TRAINED else None))

    def _embeddings_for(
        self,
        default: EncoderWeights | None,
        encodes_all: bool,
        name: str,
        side: Side,
        *,
        weights: EncoderWeights | None = None,
        rows: Rows | None = None,
    ) -> Embeddings:
        """Return embeddings for a component, with default weights unless it names `trained`."""
        chosen = weights or (default if name != TRAINED else None)
        if encodes_all and self.encoder_spec(name, chosen)[0].stored_queries() is None:
            rows = None
        return self.embeddings(name, side, weights=chosen, rows=rows)

    @property
    def _recipe_encoders(self) -> RecipeEncoders:
        training = stages.training_artifact(self.artifacts)
        return RecipeEncoders(self.encoders, self.trained, training, self.hashes)

    @property
    def _by_products(self) -> ByProducts:
        return ByProducts(self.store, self.ranks, self.by_products)

    def encoder_spec(
        self, name: str, weights: EncoderWeights | None = None
    ) -> tuple[EncoderSpec, Any]:
        """Return an encoder's spec and identity; see `RecipeEncoders.spec`."""
        return self._recipe_encoders.spec(name, weights)

    def encoder(self, name: str, *, weights: EncoderWeights | None = None) -> Encoder:
        """Return an encoder by name and weights, built and prepared for the ranks once.

        One that scores pairs works alone on each rank, so the ranks do not prepare it.
        """
        built, known = self.unprepared_encoder(name, weights=weights), self._known(name, weights)
        spec, _ = self.encoder_spec(name, weights)
        if known not in self._prepared and not spec.scores_pairs:
            self.ranks.prepare(cast("nn.Module", built))
            self._prepared.add(known)
        return built

    def unprepared_encoder(self, name: str, *, weights: EncoderWeights | None = None) -> Encoder:
        """Return an encoder, built once, so that its modules can be changed before it is used."""
        known = self._known(name, weights)
        if known not in self._built:
            spec, _ = self.encoder_spec(name, weights)
            built = spec.build(self.context(self.store.root / "scratch"))
            with error_location(lambda: f"encoders.{name}"):
                spec.check_built(built)
            self._built[known] = built
        return self._built[known]

    def release_encoders(self, *, keep: str | None = None) -> None:
        """Forget the encoders that were built, so that their memory is free.

        Args:
            keep: The name of an encoder whose initial weights stay.
        """
        for known in [known for known in self._built if known != (keep, False)]:
            del self._built[known]
            self._prepared.discard(known)

    def has_encoders_of(self, other: StageInputs) -> bool:
        """Return whether both share the encoders that they build."""
        return self._built is other._built

    def _known(self, name: str, weights: EncoderWeights | None) -> tuple[str, bool]:
        is_trained = self._recipe_encoders.is_trained(name, weights)
        return TRAINED if is_trained else name, is_trained

    def artifact(self, name: str, identity: Any, build: Callable[[Path], None]) -> Path:
        """Return the folder of a by-product of the passages.

        If it is not cached, the main rank builds it while the others wait.
        """
        whole = {"by_product": name, "identity": identity, "corpus": self._texts("passage")}

        def build_without_summary(folder: Path) -> dict[str, Any]:
            build(folder)
            return {}

        return self._by_products.make(name, whole, build_without_summary)

    def tokens(
        self, name: str, side: Side, *, weights: EncoderWeights | None = None
    ) -> TokenizedTexts:
        """Open all queries or passages as tokens of a named encoder, tokenizing them if needed.

        The main rank tokenizes while the others wait. Encoders that tokenize alike share the
        tokens: a text is tokenized once for mining, training and evaluation.
        """
        from recipekit.encoding.tokens import TokenizedTexts, tokenize_table

        assert self.dataset is not None
        encoder, table = self.encoder(name, weights=weights), self.dataset.table(side)
        identity = {
            "by_product": "tokens",
            "tokenizer": encoder.tokenizer_identity(side),
            "texts": self._texts(side),
        }

        def build(folder: Path) -> dict[str, Any]:
            tokenized = tokenize_table(encoder, table, side, folder, self.progress)
            return {"texts": len(tokenized), "truncated": tokenized.truncated}

        return TokenizedTexts.open(self._by_products.make("tokens", identity, build))

    def embeddings(
        self,
        name: str,
        side: Side,
        *,
        weights: EncoderWeights | None = None,
        rows: Rows | None = None,
    ) -> Embeddings:
        """Return the embeddings of queries or passages by a named encoder.

        If they are not cached, all ranks encode together. A side that training left unchanged has
        the embeddings of the initial weights.

        Args:
            name: The encoder's name in the recipe.
            side: Queries or passages.
            weights: The encoder's weights; required where it has initial and trained ones.
            rows: The rows that are needed, ascending; None for all. The result may hold more.
        """
        from recipekit.encoding.embed import embed_table, open_embeddings

        assert self.dataset is not None
        if self._recipe_encoders.is_unchanged(name, side, weights):
            name, weights = str(self.trained), "initial"
        spec, encoder_identity = self.encoder_spec(name, weights)
        passages, queries = spec.stored_passages(), spec.stored_queries()
        if passages is not None and side == "passage":
            return self._stored_vectors.passages(passages)
        if queries is not None and side == "query":
            assert passages is not None, "an encoder that embeds no queries embeds no passages"
            return self._stored_vectors.queries(queries, passages, rows)
        identity = {
            "by_product": "embeddings",
            "version": 2,
            "encoder": encoder_identity,
            "side": side,
            "texts": self._texts(side),
        }
        total = len(self.dataset.table(side))
        rows = self._by_products.narrow("embeddings", identity, rows, total)

        def build(folder: Path) -> dict[str, Any]:
            encoder = self.encoder(name, weights=weights)
            _check_is_trained(name, encoder)
            tokens = self.tokens(name, side, weights=weights)
            if rows is not None:
                tokens = tokens.subset(rows)
            return embed_table(encoder, tokens, side, folder, self.ranks, self.progress)

        folder = self._by_products.make_together("embeddings", identity, build)
        return replace(open_embeddings(folder), rows=rows)

    def pair_scores(self, name: str, query: Rows, passage: Rows) -> Floats:
        """Return the scores of pairs by a named encoder; see `Context.pair_scores`.

        If they are not cached, all ranks score together.

        Args:
            name: The encoder's name in the recipe; it has one kind of weights by now.
            query: Rows of queries, ascending, (n,).
            passage: Rows of passages, ascending for each query, (n,).
        """
        import numpy as np

        from recipekit.encoding.score_pairs import open_scores, score_pairs
        from recipekit.search.similarity import pair_scores

        assert self.dataset is not None
        dataset, (spec, encoder_identity) = self.dataset, self.encoder_spec(name)
        pairs = np.stack([query, passage]).astype("<i8")
        identity: dict[str, Any] = {
            "by_product": "pair_scores",
            "pairs": hashlib.sha256(pairs.tobytes()).hexdigest(),
        }
        if spec.scores_pairs:
            texts = [self._texts("query"), self._texts("passage")]
            identity |= {"encoder": encoder_identity, "texts": texts}
        else:
            queries = self.embeddings(name, "query", rows=np.unique(query))
            passages = self.embeddings(name, "passage", rows=np.unique(passage))
            identity |= {"embeddings": [queries.key, passages.key]}

        def score(query: Rows, passage: Rows) -> Floats:
            if not spec.scores_pairs:
                left, right = (
                    np.asarray(side.take(rows), dtype=np.float32)
                    for side, rows in ((queries, query), (passages, passage))
                )
                return pair_scores(left, right, queries.similarity)
            texts = dataset.queries.texts(query), dataset.passages.texts(passage)
            return cast(CrossEncoder, self.encoder(name)).score(*texts, logits=True)

        def build(folder: Path) -> dict[str, Any]:
            return score_pairs(
                score, query, passage, folder, self.ranks, self.progress, encoder=name
            )

        return open_scores(self._by_products.make_together("pair_scores", identity, build))

    @property
    def _stored_vectors(self) -> StoredVectors:
        assert self.dataset is not None
        scratch = self.store.root / "scratch"
        return StoredVectors(
            self.dataset, self.hashes, self._by_products, lambda: self.context(scratch)
        )

    def _texts(self, side: Side) -> str:
        """Return the content hash of one side's texts; see `texts_key`."""
        assert self.dataset is not None
        return texts_key(self.dataset, side, self.hashes)


def _check_is_trained(name: str, encoder: Encoder) -> None:
    """Check that an encoder has no layer with random weights."""
    if encoder.has_untrained_dense:
        raise RunError(
            f"encoder '{name}' cannot be used before it is trained: the Dense layer between its "
            "dimension and that of its passage_vectors has random weights. Mine with another "
            "retriever or encoder",
            code="RK646",
        )
