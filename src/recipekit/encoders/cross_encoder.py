"""The `cross_encoder`: two texts in, one score out, by a sentence-transformers CrossEncoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from recipekit.component import Context, EncoderSpec
from recipekit.encoding.named_cross_encoder import NamedCrossEncoder

if TYPE_CHECKING:
    from recipekit.encoding.pair_scores import PairScorer

__all__ = ["CrossEncoderModelSpec"]


class CrossEncoderModelSpec(NamedCrossEncoder, EncoderSpec):
    """A sentence-transformers CrossEncoder, which reads a query and a passage together.

    It makes no vectors, so it cannot search a corpus: `rerank` of the evaluator `retrieval` names
    it to order the first passages of another system. Scores are those of `CrossEncoder.predict`.
    """

    scores_pairs: ClassVar[bool] = True

    @property
    def base_model(self) -> str:
        """The model's name."""
        return self.model

    def build(self, context: Context) -> PairScorer:
        """Load the model onto the rank's device, with float32 weights."""
        from recipekit.encoding.pair_scores import load_scorer

        return load_scorer(
            self,
            context.ranks.device,
            context.progress,
            trust_remote_code=context.trust_remote_code,
        )
