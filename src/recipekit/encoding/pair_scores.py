"""Loading a CrossEncoder, and scoring pairs in batches of similar length."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from sentence_transformers import CrossEncoder

from recipekit.arrays import Floats, Ints, Rows
from recipekit.component import Progress
from recipekit.dataset import Dataset
from recipekit.encoding.batches import length_batches
from recipekit.encoding.max_length import length_of, position_limit
from recipekit.encoding.model_files import (
    check_sha256,
    hub_snapshot,
    local_folder,
    unloadable,
    unreachable,
)
from recipekit.encoding.model_size import count_parameters
from recipekit.encoding.out_of_memory import BatchParts, repeat_until_it_fits
from recipekit.encoding.padding import give_padding_token
from recipekit.encoding.precision import autocast, model_of_device, name_precision
from recipekit.errors import ModelError

if TYPE_CHECKING:
    from recipekit.encoding.named_cross_encoder import NamedCrossEncoder

__all__ = ["PairScorer", "load_scorer"]

CPU_TOKENS = 8192
DEVICE_TOKENS = 65536
SCORING_ARCHITECTURES = ("ForSequenceClassification", "ForCausalLM")
"""Suffixes of architectures that give a score; any other would get a head of random numbers."""


class PairScorer:
    """Scores (query, passage) texts as `CrossEncoder.predict` does, and counts truncated pairs."""

    def __init__(
        self,
        name: str,
        model: Any,
        *,
        max_length: int,
        precision: Literal["bf16", "fp32"],
        max_tokens_per_batch: int,
        progress: Progress,
    ) -> None:
        self.name = name
        self.model = model
        self.max_length = max_length
        self.precision = precision
        self.max_tokens_per_batch = max_tokens_per_batch
        self.parts = BatchParts("scoring pairs", "one of the pairs", "cross-encoder", progress)
        self.reset_counts()
        # Tokens in addition to the two texts: special tokens, prompts, templates.
        self._overhead = int(
            model.preprocess([("", "")], prompt=model.prompts.get(model.default_prompt_name))[
                "input_ids"
            ].numel()
        )

    @property
    def parameters(self) -> int:
        """The number of the model's parameters."""
        return count_parameters(self.model)

    @property
    def device_name(self) -> str:
        """Where the model computes, for the report."""
        return model_of_device(self.model.device)

    @property
    def arithmetic(self) -> str:
        """The arithmetic on that device: `fp32`, `bf16`, or `bf16 in fp32`."""
        return name_precision(self.precision, self.model.device)

    def reset_counts(self) -> None:
        """Set `pairs` (scored) and `truncated` (longer than `max_length`) to 0."""
        self.pairs = self.truncated = 0

    def score(
        self, queries: Sequence[str], passages: Sequence[str], *, logits: bool = False
    ) -> Floats:
        """Score pairs as `CrossEncoder.predict` does, in batches of similar length."""
        lengths = self._lengths(queries) + self._lengths(passages) + self._overhead
        self.pairs += len(lengths)
        self.truncated += int((lengths > self.max_length).sum())
        scores = np.empty(len(lengths), dtype=np.float32)

        def predict(batch: Rows) -> None:
            for rows in self.parts.of(batch):
                pairs = [(queries[row], passages[row]) for row in rows.tolist()]
                scores[rows] = self._predict(pairs, logits)

        read = np.minimum(lengths, self.max_length)
        for batch in length_batches(read, self.max_tokens_per_batch):
            repeat_until_it_fits(partial(predict, batch), partial(self.parts.double, batch))
        if not np.isfinite(scores).all():
            row = int(np.flatnonzero(~np.isfinite(scores))[0])
            raise ModelError(
                f"model '{self.name}' gives the query '{queries[row]:.60}' a score that is not "
                "finite",
                code="RK431",
            )
        return scores

    def score_rows(self, dataset: Dataset, query: Ints, passage: Ints) -> Floats:
        """The score of each pair of rows, float32 (n,)."""
        return self.score(dataset.queries.texts(query), dataset.passages.texts(passage))

    def _predict(self, pairs: Sequence[tuple[str, str]], logits: bool) -> Floats:
        """Score pairs in one forward pass, float32 (n,)."""
        with autocast(self.precision, torch.device(self.model.device)):
            scores: Floats = self.model.predict(
                pairs,
                batch_size=len(pairs),
                show_progress_bar=False,
                activation_fn=torch.nn.Identity() if logits else None,  # None is the model's own
            )
        return scores

    def _lengths(self, texts: Sequence[str]) -> Any:
        """Tokens of each text alone, int64 (n,); equal texts are tokenized once."""
        unique = list(dict.fromkeys(texts))
        if not unique:
            return np.zeros(0, dtype=np.int64)
        ids = self.model.tokenizer(
            unique,
            add_special_tokens=False,
            truncation=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        length = dict(zip(unique, map(len, ids), strict=True))
        return np.fromiter((length[text] for text in texts), dtype=np.int64, count=len(texts))


def load_scorer(
    spec: NamedCrossEncoder,
    device: str,
    progress: Progress,
    *,
    trust_remote_code: bool = False,
) -> PairScorer:
    """Load a spec's model, with float32 weights, onto a device.

    Raises:
        ModelError: It cannot be reached or read, is not the pinned one, or gives no score.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()  # the run shows its own progress
    folder = local_folder(spec.model)
    commit = None if folder else spec.commit()
    try:
        model = CrossEncoder(
            str(folder or spec.model),
            revision=commit,
            device=device,
            model_kwargs={"dtype": torch.float32},
            trust_remote_code=trust_remote_code,
        )
    except Exception as error:  # each library raises errors of its own
        if commit is not None and not hub_snapshot(spec.model, commit).is_dir():
            raise unreachable(spec.model, error) from error
        raise unloadable(spec.model, error) from error
    folder = folder or hub_snapshot(spec.model, str(commit))
    if spec.sha256 is not None:
        check_sha256(spec.model, folder, spec.sha256)
    _check_scores(spec.model, folder, model)
    _pad(spec.model, model, progress)
    model[0].max_seq_length = length_of(
        spec.model, spec.max_length, model[0].max_seq_length, position_limit(model[0].model)
    )
    tokens = spec.max_tokens_per_batch or (
        CPU_TOKENS if torch.device(device).type == "cpu" else DEVICE_TOKENS
    )
    return PairScorer(
        spec.model,
        model,
        max_length=model[0].max_seq_length,
        precision=spec.precision,
        max_tokens_per_batch=tokens,
        progress=progress,
    )


def _pad(name: str, model: Any, progress: Progress) -> None:
    """Make a decoder that scores pairs usable in batches, with the scores of single pairs."""
    tokenizer, transformer = model[0].tokenizer, model[0].model
    # A decoder with a classification head scores at the last token that is not the padding token,
    # which must therefore differ from the token that ends a text.
    ids = tokenizer("a", "b")["input_ids"]
    give_padding_token(name, tokenizer, transformer, progress.info, used=ids[-1:])
    config = transformer.config.get_text_config()
    if config.pad_token_id is None:
        config.pad_token_id = tokenizer.pad_token_id
    architecture = type(transformer).__name__
    if architecture.endswith("ForSequenceClassification"):
        # To a causal model, padding on the right is invisible. On the left it would move positions.
        tokenizer.padding_side = "right"


def _check_scores(name: str, folder: Path, model: Any) -> None:
    """Raise `ModelError` unless the model was trained to give a pair one score."""
    settings = folder / "config_sentence_transformers.json"
    kind = json.loads(settings.read_text()).get("model_type") if settings.is_file() else None
    architectures = getattr(model[0].model.config, "architectures", None) or [""]
    if kind not in (None, "CrossEncoder") or (
        kind is None and not architectures[0].endswith(SCORING_ARCHITECTURES)
    ):
        raise ModelError(
            f"model '{name}' is not a cross-encoder "
            f"({kind or architectures[0] or 'unknown architecture'})",
            code="RK418",
        )
    if model.num_labels != 1:
        raise ModelError(
            f"model '{name}' gives {model.num_labels} scores per pair; one that rises with "
            "relevance is needed",
            code="RK418",
        )
