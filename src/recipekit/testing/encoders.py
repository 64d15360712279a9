"""The conformance check of encoders."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from recipekit.artifacts.key import canonical
from recipekit.component import (
    Context,
    Encoder,
    EncoderSpec,
    PredictsTokens,
    TakesPrompts,
    Vocabulary,
)
from recipekit.errors import ModelError
from recipekit.records import SIDES, Side, Similarity
from recipekit.testing.promises import (
    build,
    call,
    conformance_check,
    expect,
    expect_members,
    expect_methods,
    found,
    member,
    new_folder,
    shown,
)
from recipekit.testing.specs import check_spec

if TYPE_CHECKING:
    import torch

__all__ = ["check_encoder"]

TEXTS = (
    "How do rivers shape valleys?",
    "a",
    "The piston moves the valve, and the valve moves the turbine. " * 40,
)
METHODS = (
    "set_dropout",
    "set_tied",
    "tokenizer_identity",
    "tokenize",
    "collate",
    "__call__",
    "save",
)


@conformance_check
def check_encoder(spec: EncoderSpec, context: Context) -> None:
    """Check an encoder: shapes, similarity, float32 weights, padding, gradients, saved files.

    Raises:
        AssertionError: It breaks a promise.
    """
    check_spec(spec, "encoder")
    name = type(spec).__name__
    if not spec.embeds_texts:
        has_both = spec.stored_queries() is not None and spec.stored_passages() is not None
        expect(
            has_both,
            f"{name}.embeds_texts is False, so stored_queries() and stored_passages() must return "
            "vector sources",
        )
        return
    encoder = _built(name, spec, context)
    encoder.eval()
    for side in SIDES:
        _check_side(name, encoder, side)
    _check_gradient(name, encoder)
    _check_switches(name, encoder)
    _check_weights(name, encoder)
    if isinstance(encoder, PredictsTokens):
        _check_language_model_head(name, encoder)
    if isinstance(encoder, TakesPrompts):
        for side in SIDES:
            _check_prompts(name, encoder, side)
    _check_saved(name, spec, encoder, context)


def _check_prompts(name: str, encoder: Any, side: Side) -> None:
    """Check that a prompt changes the tokens of a side's texts while its context is open."""
    before, identity = _tokens(encoder, side), canonical(encoder.tokenizer_identity(side))
    with encoder.prompted(side, "How do rivers shape "):
        within = _tokens(encoder, side)
        expect(
            canonical(encoder.tokenizer_identity(side)) != identity,
            f"{name}.prompted({side!r}, ...) leaves tokenizer_identity as it is",
        )
    expect(within != before, f"{name}.prompted({side!r}, ...) prepends no prompt")
    expect(
        _tokens(encoder, side) == before,
        f"{name}.prompted({side!r}, ...) leaves the prompt after its context is closed",
    )


def _tokens(encoder: Any, side: Side) -> list[list[int]]:
    return [list(map(int, ids)) for ids in encoder.tokenize(TEXTS, side)[0]]


def _built(name: str, spec: EncoderSpec, context: Context) -> Any:
    """Build an encoder and check its members."""
    import torch

    encoder: Any = build(spec, Encoder, context)
    expect(
        isinstance(encoder, torch.nn.Module),
        f"{name}.build() returns {found(encoder)}; a torch.nn.Module is expected",
    )
    expect_methods(name, encoder, Encoder, *METHODS)
    expect_members(name, encoder, Encoder, "has_untrained_dense", "weights_of")
    for attribute in ("dimension", "max_length", "max_tokens_per_batch"):
        expected = "a positive int is expected"
        value = member(name, encoder, attribute, expected)
        is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
        expect(is_count, f"{name}.{attribute} is {shown(value)}; {expected}")
    choices = {
        "similarity": get_args(Similarity),
        "precision": ("bf16", "fp32"),
        "tied": (True, False),
        "has_untrained_dense": (True, False),
    }
    for attribute, known in choices.items():
        expected = f"one of {', '.join(map(repr, known))} is expected"
        value = member(name, encoder, attribute, expected)
        is_known = any(type(value) is type(choice) and value == choice for choice in known)
        expect(is_known, f"{name}.{attribute} is {shown(value)}; {expected}")
    dtypes = {parameter.dtype for parameter in encoder.parameters()}
    expect(dtypes, f"{name} has no parameters to train")
    expect(
        dtypes == {torch.float32},
        f"{name}: parameters are {sorted(map(str, dtypes))}; master weights are float32",
    )
    return encoder


def _check_side(name: str, encoder: Any, side: Side) -> None:
    """Check the tokens and embeddings of one side."""
    import torch

    ids, cut = _tokenized(name, encoder, side)
    expect(
        max(map(len, ids)) <= encoder.max_length,
        f"{name}.tokenize() returns a text with more than max_length tokens",
    )
    expect(
        cut == sum(len(one) == encoder.max_length for one in ids),
        f"{name}.tokenize() reports {cut} cut texts, which is wrong",
    )
    expected = "a JSON value is expected"
    identity = call(
        f"{name}.tokenizer_identity()", expected, lambda: encoder.tokenizer_identity(side)
    )
    call(f"{name}.tokenizer_identity() returns a value that", expected, lambda: canonical(identity))
    with torch.no_grad():
        together = _embedded(name, encoder, ids, side)
        alone = torch.cat([_embedded(name, encoder, [one], side) for one in ids])
    expect(torch.isfinite(together).all(), f"{name}: an embedding is not finite")
    expect(
        (together - alone).abs().max() < _tolerance(encoder),
        f"{name}: a text's embedding depends on its batch",
    )
    if encoder.similarity == "cosine":
        lengths = together.norm(dim=1)
        expect(
            (lengths - 1).abs().max() < _tolerance(encoder),
            f"{name} has the similarity `cosine`, but its rows have lengths {lengths.tolist()}",
        )


def _tokenized(name: str, encoder: Any, side: Side) -> tuple[list[Any], int]:
    """Tokenize the texts, and check the form of the result."""
    expected = f"(token ids of each text, number of cut texts) is expected for {len(TEXTS)} texts"
    result = call(f"{name}.tokenize()", expected, lambda: encoder.tokenize(TEXTS, side))
    is_pair = isinstance(result, tuple) and len(result) == 2
    expect(is_pair, f"{name}.tokenize() returns {found(result)}; {expected}")
    ids, cut = result
    expect(
        isinstance(ids, list) and len(ids) == len(TEXTS),
        f"{name}.tokenize() returns {found(ids)} of ids; {expected}",
    )
    for one in ids:
        is_ids = isinstance(one, list | np.ndarray) and len(one) > 0
        expect(
            is_ids and np.ndim(one) == 1 and np.issubdtype(np.asarray(one).dtype, np.integer),
            f"{name}.tokenize() returns {found(one)} for a text; a list of one or more whole "
            "numbers is expected",
        )
    expect(isinstance(cut, int), f"{name}.tokenize() counts {found(cut)}; {expected}")
    return ids, cut


def _embedded(name: str, encoder: Any, ids: list[Any], side: Side) -> torch.Tensor:
    """Embed tokenized texts, and check the form of the result."""
    import torch

    expected = "a mapping of names to tensors is expected"
    features = call(f"{name}.collate()", expected, lambda: encoder.collate(ids, side))
    is_batch = isinstance(features, Mapping) and all(
        isinstance(value, torch.Tensor) for value in features.values()
    )
    expect(is_batch, f"{name}.collate() returns {found(features)}; {expected}")
    shape = (len(ids), encoder.dimension)
    expected = f"a floating-point tensor of shape {shape}, (n, dimension), is expected"
    embeddings = call(f"{name}.forward()", expected, lambda: encoder(features, side))
    is_matrix = (
        isinstance(embeddings, torch.Tensor)
        and embeddings.shape == shape
        and embeddings.is_floating_point()
    )
    expect(is_matrix, f"{name}.forward() returns {found(embeddings)}; {expected}")
    whole: torch.Tensor = embeddings.float()
    return whole


def _tolerance(encoder: Any) -> float:
    return 0.03 if encoder.precision == "bf16" else 1e-4


def _check_gradient(name: str, encoder: Any) -> None:
    import torch

    ids, _ = _tokenized(name, encoder, "query")
    embeddings = _embedded(name, encoder, ids, "query")
    expect(embeddings.requires_grad, f"{name}.forward() returns embeddings that have no gradient")
    total = (embeddings * torch.linspace(-1, 1, encoder.dimension)).sum()
    call(f"{name}.forward(): backward()", "the embeddings must be differentiable", total.backward)
    reached = [
        parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
        for parameter in encoder.parameters()
    ]
    expect(any(reached), f"{name}.forward(): no gradient reaches any parameter")
    encoder.zero_grad()


def _check_switches(name: str, encoder: Any) -> None:
    """Call the methods that training calls, and leave the encoder as it was."""
    tied = encoder.tied
    call(f"{name}.set_dropout()", "it takes a bool", lambda: encoder.set_dropout(False))
    call(f"{name}.set_tied()", "it takes a bool", lambda: encoder.set_tied(tied))
    expect(encoder.tied is tied, f"{name}.set_tied({tied}) changes `tied`")


def _check_weights(name: str, encoder: Any) -> None:
    """Check the weights of each side, if the encoder names them."""
    import torch

    expected = "a mapping of names to tensors is expected, or None"
    for side in SIDES:
        weights = call(
            f"{name}.weights_of()", expected, functools.partial(encoder.weights_of, side)
        )
        is_named = isinstance(weights, Mapping) and all(
            isinstance(tensor, torch.Tensor) for tensor in weights.values()
        )
        expect(
            is_named or weights is None, f"{name}.weights_of() returns {found(weights)}; {expected}"
        )


def _check_language_model_head(name: str, encoder: Any) -> None:
    """Check that a head can be added and removed, if the model can predict tokens."""
    import torch

    expected = "it must return a Vocabulary, or raise a ModelError"

    def vocabularies() -> list[Any]:
        try:
            return [encoder.vocabulary(side) for side in SIDES]
        except ModelError:
            return []

    known = call(f"{name}.vocabulary()", expected, vocabularies)
    if not known:
        return
    for vocabulary in known:
        is_vocabulary = isinstance(vocabulary, Vocabulary)
        expect(is_vocabulary, f"{name}.vocabulary() returns {found(vocabulary)}; {expected}")
    before = [parameter for parameter, _ in encoder.named_parameters()]
    expected = "it must return the head, a torch.nn.Module"
    add = functools.partial(encoder.add_language_model_head, lambda message: None)
    heads = [call(f"{name}.add_language_model_head()", expected, add) for _ in range(2)]
    expect(
        isinstance(heads[0], torch.nn.Module) and heads[1] is heads[0],
        f"{name}.add_language_model_head() returns {found(heads[0])}; {expected}, and the same one "
        "when it is called again",
    )
    for _ in range(2):
        call(
            f"{name}.remove_language_model_head()",
            "it can be called more than once",
            encoder.remove_language_model_head,
        )
    left = [parameter for parameter, _ in encoder.named_parameters()]
    expect(left == before, f"{name}.remove_language_model_head() leaves parameters of the head")


def _check_saved(name: str, spec: EncoderSpec, encoder: Any, context: Context) -> None:
    """Check that saved files load with sentence-transformers and `at()`, and encode equally."""
    import torch
    from sentence_transformers import SentenceTransformer

    folder = new_folder(context, "saved")
    loadable = "it must write a folder that sentence-transformers loads"
    call(f"{name}.save()", loadable, lambda: encoder.save(folder))
    expected = "it must return the spec of the encoder with the saved weights"
    saved = call(f"{name}.at()", expected, lambda: spec.at(folder))
    expect(isinstance(saved, EncoderSpec), f"{name}.at() returns {found(saved)}; {expected}")
    with torch.no_grad():
        ids, _ = _tokenized(name, encoder, "query")
        ours = _embedded(name, encoder, ids, "query")
        again = _built(f"{name}.at()", saved, context)
        again.eval()
        reloaded = _embedded(name, again, ids, "query")
    expect(
        ours.shape == reloaded.shape and (ours - reloaded).abs().max() < _tolerance(encoder),
        f"{name}: at(folder) of what it saved encodes differently",
    )
    theirs = call(
        f"{name}.save(): loading the folder with sentence-transformers",
        loadable,
        lambda: torch.from_numpy(
            SentenceTransformer(str(folder), device="cpu").encode_query(list(TEXTS))
        ),
    )
    if encoder.similarity == "cosine":
        theirs = torch.nn.functional.normalize(theirs, dim=1)
    expect(
        ours.shape == theirs.shape and (ours - theirs).abs().max() < _tolerance(encoder),
        f"{name}: sentence-transformers encodes differently from the folder it saved",
    )
