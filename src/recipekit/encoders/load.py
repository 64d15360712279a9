"""Loads a sentence-transformers model and applies the recipe's settings to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Dropout,
    LayerNorm,
    Normalize,
    Pooling,
    Router,
    StaticEmbedding,
    Transformer,
    WeightedLayerPooling,
)
from torch import nn

from recipekit.component import Progress, VectorSource
from recipekit.encoders.bi_encoder_module import BiEncoder, SavedSettings, width_of
from recipekit.encoding.max_length import UNLIMITED, length_of, position_limit
from recipekit.encoding.model_files import (
    check_sha256,
    hub_snapshot,
    local_folder,
    unloadable,
    unreachable,
)
from recipekit.encoding.padding import give_padding_token
from recipekit.errors import ModelError
from recipekit.records import Side, Similarity

if TYPE_CHECKING:
    from recipekit.encoders.bi_encoder import BiEncoderSpec, PoolingMode

__all__ = ["load_bi_encoder"]

UNDERSTOOD = (Pooling, Dense, Normalize, Dropout, LayerNorm, WeightedLayerPooling)
"""Modules that may follow the transformer: each uses only the output of the modules before it."""
PASSAGE_PROMPTS = ("document", "passage", "corpus")
"""The names of a model's passage prompt, in sentence-transformers' order."""


def load_bi_encoder(
    spec: BiEncoderSpec,
    progress: Progress,
    vectors: VectorSource | None = None,
    *,
    trust_remote_code: bool = False,
) -> BiEncoder:
    """Load the model that a spec names.

    Args:
        spec: The spec.
        progress: Where notices and warnings are shown.
        vectors: The vectors that its passages have already, if any.
        trust_remote_code: Whether a model that brings Python code may run it.

    Raises:
        ModelError: The model cannot be found or read, is not the pinned one, or does not support
            the spec's settings.
    """
    model, folder = _read(spec, trust_remote_code)
    if spec.sha256 is not None:
        check_sha256(spec.model, folder, spec.sha256)
    towers = _towers(spec, model, folder, progress)
    is_one = list(map(id, towers[0])) == list(map(id, towers[1]))
    similarity: Similarity = spec.similarity or model.similarity_fn_name
    is_projected = False
    if vectors is not None:
        similarity = _similarity_of(spec, vectors)
        is_projected = _project(spec, model, towers, vectors.dimension, progress)
    if similarity == "cosine":
        towers = _normalized(spec, model, folder, towers, progress)
    query, passage = towers
    encoder = BiEncoder(
        {"query": query, "passage": query if is_one else passage},
        prompts=_prompts(spec, model.prompts),
        max_length=_max_length(spec, towers),
        precision=spec.precision,
        max_tokens_per_batch=spec.max_tokens_per_batch,
        similarity=similarity,
        settings=SavedSettings(
            dict(model.prompts),
            model.default_prompt_name,
            similarity,
            model.truncate_dim,
        ),
        folder=_first_files(folder),
        embeds_passages=vectors is None,
        has_untrained_dense=is_projected,
    )
    if not spec.tied:
        encoder.set_tied(False)
    return encoder


def _towers(
    spec: BiEncoderSpec, model: SentenceTransformer, folder: Path, progress: Progress
) -> list[list[nn.Module]]:
    """Return the modules that encode queries and those that encode passages, with the pooling set.

    Modules that encode both are the same objects.
    """
    towers = [list(_route(spec.model, model, task)) for task in ("query", "document")]
    is_plain = not (folder / "modules.json").is_file()
    for tower in towers:
        first: Any = tower[0]
        if is_plain and isinstance(first, Transformer):
            _ignore_chat_template(spec.model, first, progress)
        _check(spec.model, tower)
        if isinstance(first, Transformer):
            give_padding_token(spec.model, first.tokenizer, first.model, progress.info)
    if spec.pooling is not None:
        _repool(spec, towers, progress.warn)
    elif is_plain:
        progress.warn(
            f"model '{spec.model}' states no pooling, so the mean of its tokens is used; "
            "`pooling` chooses another"
        )
    _freeze_unused(towers)
    return towers


def _similarity_of(spec: BiEncoderSpec, vectors: VectorSource) -> Similarity:
    """Return how an encoder's vectors are compared with stored ones: as those are.

    Raises:
        ModelError: The recipe states another similarity for the encoder.
    """
    if spec.similarity not in (None, vectors.similarity):
        raise ModelError(
            f"the encoder has similarity: {spec.similarity}, but its passage_vectors are compared "
            f"by {vectors.similarity}: leave `similarity` out of the encoder",
            code="RK419",
        )
    return vectors.similarity


def _project(
    spec: BiEncoderSpec,
    model: SentenceTransformer,
    towers: Sequence[list[Any]],
    dimension: int,
    progress: Progress,
) -> bool:
    """Append a Dense layer to the only tower if its dimension is not that of stored vectors.

    Returns:
        Whether there is a new layer, whose weights are random.
    """
    own = min(width_of(towers[0]), model.truncate_dim or width_of(towers[0]))
    if own == dimension:
        return False
    model.truncate_dim = None
    width = width_of(towers[0])
    dense = Dense(width, dimension, activation_function=nn.Identity())
    generator = torch.Generator().manual_seed(width)
    with torch.no_grad():
        nn.init.orthogonal_(dense.linear.weight, generator=generator)
        nn.init.zeros_(dense.linear.bias)
    for tower in {id(tower): tower for tower in towers}.values():
        tower.append(dense)
    progress.info(
        f"model '{spec.model}' has {own} dimensions and its passage_vectors have {dimension}: a "
        "Dense layer is added and trained"
    )
    return True


def _first_files(folder: Path) -> Path:
    """Return the folder of the first module's files."""
    listed = folder / "modules.json"
    if not listed.is_file():
        return folder
    modules = json.loads(listed.read_text(encoding="utf-8"))
    return folder / str(modules[0]["path"])


def _read(spec: BiEncoderSpec, trust_remote_code: bool) -> tuple[SentenceTransformer, Path]:
    from transformers.utils import logging

    logging.disable_progress_bar()  # the run shows its own progress
    folder = local_folder(spec.model)
    commit = None if folder else spec.commit()
    try:
        model = SentenceTransformer(
            str(folder or spec.model),
            revision=commit,
            device="cpu",
            model_kwargs={"dtype": torch.float32},
            trust_remote_code=trust_remote_code,
        )
    except Exception as error:  # each of its libraries raises its own errors
        if commit is not None and not hub_snapshot(spec.model, commit).is_dir():
            raise unreachable(spec.model, error) from error
        raise unloadable(spec.model, error) from error
    return model.float(), folder or hub_snapshot(spec.model, str(commit))


def _route(name: str, modules: Any, task: str) -> Iterator[nn.Module]:
    """Yield the modules that encode a text of a task, with routers resolved."""
    for module in modules.children():
        if not isinstance(module, Router):
            yield module
            continue
        route = task if task in module.sub_modules else module.default_route
        if module.route_mappings or route not in module.sub_modules:
            raise ModelError(
                f"model '{name}': its router does not define which modules encode a {task}",
                code="RK411",
            )
        yield from _route(name, module.sub_modules[route], task)


def _ignore_chat_template(name: str, first: Any, progress: Progress) -> None:
    """Make a transformer that is not an encoder yet read plain texts, not messages of a chat.

    sentence-transformers would render every text by the chat template of the tokenizer. The
    exported encoder states that it does not.
    """
    texts = first.modality_config.get("text")
    if texts is None or "message" not in first.modality_config:
        return
    first.modality_config = {"text": texts}
    first.input_formatter.supported_modalities = ["text"]
    progress.info(
        f"the chat template of model '{name}' is not used: texts are embedded as they are"
    )


def _check(name: str, tower: Sequence[nn.Module]) -> None:
    """Refuse a tower that would not encode as it does in sentence-transformers."""
    first = tower[0]
    if not isinstance(first, Transformer | StaticEmbedding):
        raise ModelError(
            f"model '{name}' starts with {type(first).__name__}; a bi_encoder starts with a "
            "Transformer or a StaticEmbedding",
            code="RK412",
        )
    for module in tower[1:]:
        if type(module) not in UNDERSTOOD:
            raise ModelError(
                f"model '{name}': a bi_encoder does not support its module {type(module).__name__}",
                code="RK412",
            )
    if isinstance(first, Transformer):
        _check_transformer(name, first, tower[1:])


def _check_transformer(name: str, first: Any, rest: Sequence[nn.Module]) -> None:
    text = first.modality_config.get("text", {})
    special = (
        first.query_length
        or first.document_length
        or first.query_expansion
        or first.processing_kwargs
    )
    if text.get("method") != "forward" or "message" in first.modality_config or special:
        raise ModelError(
            f"model '{name}' prepares its texts in a way that is not supported (messages of a chat "
            "template, fixed lengths)",
            code="RK413",
        )
    if first.module_output_name != "sentence_embedding" and not any(
        isinstance(module, Pooling) for module in rest
    ):
        raise ModelError(
            f"model '{name}' has no pooling, so it returns a vector per token, not per text",
            code="RK412",
        )


def _repool(
    spec: BiEncoderSpec, towers: Sequence[list[nn.Module]], warn: Callable[[str], None]
) -> None:
    """Replace the pooling in place; a pooling that both towers share stays shared."""
    assert spec.pooling is not None
    poolings = {
        id(module): module for tower in towers for module in tower if isinstance(module, Pooling)
    }
    if not poolings:
        raise ModelError(
            f"model '{spec.model}' has no pooling that `pooling` could replace",
            code="RK415",
        )
    replaced = {
        key: _pooling_like(spec.model, old, spec.pooling, warn) for key, old in poolings.items()
    }
    for tower in towers:
        tower[:] = [replaced.get(id(module), module) for module in tower]


def _pooling_like(name: str, old: Any, mode: PoolingMode, warn: Callable[[str], None]) -> nn.Module:
    if old.pooling_mode == mode:
        return old  # type: ignore[no-any-return]
    was = old.pooling_mode if isinstance(old.pooling_mode, str) else "+".join(old.pooling_mode)
    if not isinstance(old.pooling_mode, str):
        raise ModelError(
            f"model '{name}' joins several poolings ({was}), which a single one cannot replace",
            code="RK415",
        )
    warn(f"model '{name}' was trained with {was} pooling; the recipe uses {mode}")
    pooling: nn.Module = Pooling(old.embedding_dimension, mode, include_prompt=old.include_prompt)
    return pooling


def _ends_normalized(tower: Sequence[nn.Module]) -> bool:
    return isinstance(tower[-1], Normalize)


def _normalized(
    spec: BiEncoderSpec,
    model: SentenceTransformer,
    folder: Path,
    towers: list[list[nn.Module]],
    progress: Progress,
) -> list[list[nn.Module]]:
    """Return towers whose vectors have length 1."""
    if all(map(_ends_normalized, towers)):
        return towers
    _state_similarity(spec, folder, progress)
    if model.truncate_dim is not None:
        return towers  # the encoder scales the vectors after it has cut them
    return [tower if _ends_normalized(tower) else [*tower, Normalize()] for tower in towers]


def _state_similarity(spec: BiEncoderSpec, folder: Path, progress: Progress) -> None:
    """Report that a model's vectors are scaled to length 1, unless the recipe asks for it."""
    if spec.similarity is not None:
        return
    config = folder / "config_sentence_transformers.json"
    if config.is_file() and json.loads(config.read_text(encoding="utf-8")).get(
        "similarity_fn_name"
    ):
        progress.info(
            f"model '{spec.model}' is compared by cosine similarity, as its files state: its "
            "vectors are scaled to length 1"
        )
    else:
        progress.warn(
            f"model '{spec.model}' states no similarity, so cosine is used, as in "
            "sentence-transformers; `similarity: dot` compares by inner product"
        )


def _freeze_unused(towers: Sequence[Sequence[nn.Module]]) -> None:
    """Freeze BERT's own pooler: its output is not used, so its weights have no gradient."""
    for tower in towers:
        first: Any = tower[0]
        pooler = getattr(getattr(first, "model", None), "pooler", None)
        if isinstance(pooler, nn.Module) and first.module_output_name == "token_embeddings":
            pooler.requires_grad_(False)


def _prompts(spec: BiEncoderSpec, own: dict[str, str]) -> dict[Side, str]:
    """Return the prompt of each side: the spec's, or else the model's own."""
    query, passage = spec.query_prompt, spec.passage_prompt
    if query is None:
        query = own.get("query") or ""
    if passage is None:
        passage = next((own[name] for name in PASSAGE_PROMPTS if own.get(name)), "")
    return {"query": query, "passage": passage}


def _max_length(spec: BiEncoderSpec, towers: Sequence[Sequence[Any]]) -> int:
    firsts = [tower[0] for tower in towers]
    if any(isinstance(first, StaticEmbedding) for first in firsts):
        # The mean of any number of tokens has no limit but that of the tokenizer, if it has one.
        own = [(first.tokenizer.truncation or {}).get("max_length", UNLIMITED) for first in firsts]
        return spec.max_length or min(own)
    limit = min(position_limit(first.model) for first in firsts)
    return length_of(
        spec.model, spec.max_length, min(first.max_seq_length for first in firsts), limit
    )
