"""Training losses: a light spec each, with the tensor maths in a file of its own.

A loss is a callable that returns one loss per query, `(b,)`, not averaged. Its spec's
`negatives_from` and `examples` say what it is called with:

| `negatives_from` | `examples` | called by | call |
|---|---|---|---|
| `"corpus"` | None | `coordinate_ascent` | `loss(queries, labels, corpus)` |
| `"batch"` | None | `in_batch` | `loss(queries, passages, mask)` |
| `"batch"` | an `ExampleForm` | `in_batch` | `loss(queries, passages, examples)` |

- `queries` and `passages` are embeddings `(b, dim)` and `(p, dim)`, of length 1 if the encoder's
  similarity is `cosine`. Their inner product is the encoder's similarity, unless the spec's
  `similarities` admit other ones.
- `labels` are the `CorpusLabels` of the queries (`recipekit.losses.corpus_labels`), and `corpus` is
  the `FrozenMatrix` of all passages (`recipekit.losses.frozen_matrix`). With several ranks,
  `labels` covers every rank's queries, in rank order.
- `mask` holds `Verdict` codes, int8 `(b, p)`.
- `examples` are the `BatchExamples` of the batch (`recipekit.losses.examples`): rows of queries and
  passages. Such a loss returns the loss of the whole batch, a scalar.
"""
