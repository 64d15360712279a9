"""Training objectives: a light spec each, and the tensor maths in a file of its own.

What a spec builds has `frozen`, the side that it scores against whole, and `negatives`, how many
judged negatives a batch should bring per query. The two values of `frozen` are two shapes of call;
both return one loss per query, `(b,)`, not yet averaged:

- `"passage"`: `loss(queries, labels, frozen)`, with the embeddings of b queries, their `LabelRows`,
  and all passages as a `FrozenMatrix` (both in `recipekit.losses.label_rows`). Over several ranks
  `labels` covers every rank's queries, in rank order.
- `None`: `loss(queries, passages, mask)`, with the embeddings of b queries and p passages, and
  `Verdict` codes, int8 `(b, p)`.
"""
