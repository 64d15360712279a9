"""A loss over the corpus that contains another one, for both half-phases of coordinate ascent."""

import math

from recipekit.component import Context, Loss, LossSpec, Slot


class RelativeLossSpec(LossSpec):
    """A loss divided by that of a uniform guess, log N, to compare corpora of different sizes."""

    inner: Slot[LossSpec] = Slot(use="exact_softmax")
    """The loss; its negatives come from the corpus."""

    negatives_from = property(lambda self: "corpus")
    trains_passages = property(lambda self: self.inner.spec.trains_passages)

    def build(self, context: Context) -> Loss:
        return RelativeLoss(self.inner.build(context))


class RelativeLoss(Loss):
    def __init__(self, inner):
        self.inner = inner

    def __call__(self, queries, labels, corpus):  # the query half-phase
        return self.inner(queries, labels, corpus) / math.log(corpus.total)

    def over_passages(self, queries, passages, labels):  # the passage half-phase
        return RelativePassages(self.inner.over_passages(queries, passages, labels))


class RelativePassages:
    def __init__(self, half):
        self.half, self.queries, self.passages = half, half.queries, half.passages
        self.compute, self.save, self.load = half.compute, half.save, half.load

    def block(self, rows, embeddings, *, update):
        results = self.half.block(rows, embeddings, update=update)  # mean loss and gradient
        return tuple(result / math.log(self.passages.total) for result in results)
