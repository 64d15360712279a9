"""Checks of the `train` section."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Final

from recipekit.component import EncoderSpec, LossSpec, PhaseSpec, is_any_encoder_name
from recipekit.losses.matryoshka import MatryoshkaSpec
from recipekit.recipe.draft import Draft
from recipekit.recipe.positions import KeyPath
from recipekit.records import Similarity
from recipekit.stages.encoder_kinds import why_of_another_kind
from recipekit.stages.train.section import TrainSection
from recipekit.suggestions import did_you_mean

__all__ = ["check", "unusable_similarity"]

LOSS_OF: Final = {"corpus": "exact_softmax", "batch": "infonce"}
"""A loss to suggest, by where a phase takes negatives from."""


def check(draft: Draft) -> None:
    """Check that the encoder can be trained, and that phases fit the recipe and their losses."""
    _check_encoder(draft)
    _check_peft(draft)
    _check_weight_selection(draft)
    for path, phase in draft.bound.items():
        if isinstance(phase.spec, PhaseSpec):
            _check_sources(draft, path, phase.spec)
            _check_phase_encoder(draft, path, phase.spec)
            _check_batch_size(draft, path, phase.spec)
    _check_losses(draft)
    _check_nested_prefixes(draft)
    _check_second_encoders(draft)
    _check_similarity(draft)


def _check_encoder(draft: Draft) -> None:
    default = TrainSection.model_fields["encoder"].default
    name = draft.mapping("train").get("encoder", default)
    if not isinstance(name, str) or ("encoders",) in draft.unclear:
        return
    spec = draft.components("encoders").get(name)
    if spec is not None and issubclass(spec, EncoderSpec) and spec.at is EncoderSpec.at:
        message = f"encoder '{name}' ({spec.__name__}) cannot be trained"
        draft.report(("train", "encoder"), message, "RK107")


def _check_peft(draft: Draft) -> None:
    """Check that the package that `lora` needs is installed."""
    if draft.mapping("train").get("lora") is not None and find_spec("peft") is None:
        message = "LoRA needs the package peft: pip install 'recipekit[lora]'"
        draft.report(("train", "lora"), message, "RK107")


def _check_weight_selection(draft: Draft) -> None:
    """Check that no key needs dev evaluations where nothing is evaluated."""
    train = draft.mapping("train")
    if train.get("eval_every_epochs", 1.0) is not None:
        return
    without_effect = {
        "patience": train.get("patience") is not None,
        "average_weights": train.get("average_weights", 1) != 1,
        "keep_weights": train.get("keep_weights") == "best",
    }
    for key, is_set in without_effect.items():
        if is_set:
            message = (
                "this has no effect with eval_every_epochs: null, which keeps the last weights: "
                "leave it out, or set eval_every_epochs"
            )
            draft.report(("train", key), message, "RK107")


def _check_phase_encoder(draft: Draft, path: KeyPath, phase: PhaseSpec) -> None:
    """Check that a phase can train the encoder, as far as its files are here."""
    encoder = draft.valid(("encoders", _trained_name(draft)))
    if isinstance(encoder, EncoderSpec) and (refusal := phase.refuses_encoder(encoder)):
        draft.report((*path, "use"), refusal, "RK107")


def _check_sources(draft: Draft, path: KeyPath, phase: PhaseSpec) -> None:
    """Check that the sources that a phase trains on exist."""
    sources = draft.mapping("collect", "sources")
    if not sources or ("collect", "sources") in draft.unclear:
        return
    for index, source in enumerate(phase.sources or ()):
        if source not in sources:
            hint = did_you_mean(source, sources) or f" The sources are {', '.join(sources)}."
            message = f"there is no source '{source}'.{hint}"
            draft.report((*path, "sources", index), message, "RK106")


def _check_batch_size(draft: Draft, path: KeyPath, phase: PhaseSpec) -> None:
    """Check that a phase can learn from a batch of the size that it has or inherits."""
    inherited = draft.mapping("train").get("batch_size")
    size = inherited if phase.batch_size is None else phase.batch_size
    if isinstance(size, int) and size < phase.min_batch_size:
        at = ("train", "batch_size") if phase.batch_size is None else (*path, "batch_size")
        message = (
            f"'{draft.bound[path].fields.get('use')}' compares the queries of a batch with each "
            f"other's passages: use at least {phase.min_batch_size} queries"
        )
        draft.report(at, message, "RK107")


def _check_losses(draft: Draft) -> None:
    """Check that a phase's losses, nested ones too, take negatives where it provides them.

    A loss that contains a refused one is not reported: it is refused for what it contains.
    """
    refused: set[KeyPath] = set()
    for path, loss in sorted(_losses(draft), key=lambda item: -len(item[0])):
        if any(inner[: len(path)] == path for inner in refused):
            continue
        found = _phase_around(draft, path)
        if found is not None and (refusal := _refusal(draft, path, loss, *found)):
            draft.report((*path, "use"), refusal, "RK107")
            refused.add(path)


def _refusal(draft: Draft, path: KeyPath, loss: LossSpec, name: str, phase: PhaseSpec) -> str:
    """Why a phase, which the recipe uses by a name, cannot use a loss; empty if it can."""
    use = draft.bound[path].fields.get("use")
    if phase.trains_passages and not loss.trains_passages:
        return f"'{use}' cannot train passages: use exact_softmax, or set passage_epochs: 0"
    if phase.positive_weights == "grade" and not loss.weighs_positives:
        return "this loss has no weights of positives: leave positive_weights: grade out"
    form = loss.examples
    is_judged = "judge" in draft.value and phase.labels == "judged"
    if form is not None and form.score_from == "confidence" and not is_judged:
        return (
            "score_from: confidence needs a judge's confidence, and this phase has only "
            "source labels: judge candidates, or use another score_from"
        )
    wanted = phase.negatives_from
    if wanted is not None and loss.negatives_from != wanted:
        return (
            f"'{name}' needs a loss whose negatives come from the {wanted}; "
            f"'{use}' takes them from the {loss.negatives_from}. "
            f"Use {LOSS_OF[wanted]}, or another phase"
        )
    owner = draft.bound.get(path[:-1])
    if owner is not None and owner.spec is phase:
        return phase.refuses(loss)
    return ""


def _losses(draft: Draft) -> Iterator[tuple[KeyPath, LossSpec]]:
    """Yield the losses of the train section that are valid with all that they contain."""
    for path in draft.bound:
        if path[0] == "train" and isinstance(loss := draft.valid(path), LossSpec):
            yield path, loss


def _check_nested_prefixes(draft: Draft) -> None:
    """Check that `matryoshka` passes on enough dimensions to the losses inside it."""
    for path, loss in _losses(draft):
        prefixes = [min(outer.dimensions) for outer in _matryoshkas_around(draft, path)]
        if prefixes and loss.least_dimension > min(prefixes):
            message = (
                f"this loss reads {loss.least_dimension} dimensions, but the matryoshka "
                f"around it passes on prefixes of {min(prefixes)}"
            )
            draft.report((*path, "use"), message, "RK107")


def _matryoshkas_around(draft: Draft, path: KeyPath) -> list[MatryoshkaSpec]:
    around = [draft.bound.get(path[:depth]) for depth in range(len(path))]
    return [
        outer.spec
        for outer in around
        if outer is not None and isinstance(outer.spec, MatryoshkaSpec)
    ]


def _check_second_encoders(draft: Draft) -> None:
    """Check that losses can compare the embeddings of their teachers, where their files are here.

    A loss around one that names a teacher is not reported.
    """
    trained = _known_dimension(draft, _trained_name(draft))
    for path, loss in _losses(draft):
        form = loss.examples
        if form is None or form.second_encoder is None:
            continue
        second = form.second_encoder
        if second.key not in type(loss).model_fields:
            continue
        if second.gives == "embeddings":
            message = why_of_another_kind(draft, second.name, scores_pairs=False)
            field = type(loss).model_fields[second.key]
            if message and is_any_encoder_name(field):
                draft.report((*path, second.key), message, "RK106")
                continue
        if second.dimension != "any" and _matryoshkas_around(draft, path):
            message = (
                f"this loss compares whole embeddings with those of its {second.key}, and the "
                "matryoshka around it passes on prefixes: use it without matryoshka"
            )
            draft.report((*path, "use"), message, "RK107")
            continue
        dimension = _known_dimension(draft, second.name)
        if dimension is None or trained is None:
            continue
        if message := second.refuses(dimension, trained):
            draft.report((*path, second.key), message, "RK107")


def _known_dimension(draft: Draft, encoder: str) -> int | None:
    """Return the dimension of an encoder; None if it or its files are not here."""
    spec = draft.valid(("encoders", encoder))
    return spec.known_dimension() if isinstance(spec, EncoderSpec) else None


def _check_similarity(draft: Draft) -> None:
    """Check that the losses can train with the encoder's similarity, where its files are here."""
    encoder = draft.valid(("encoders", _trained_name(draft)))
    if not isinstance(encoder, EncoderSpec):
        return
    similarity, dimension = encoder.known_similarity(), encoder.known_dimension()
    losses = list(_losses(draft))
    for path, loss in losses:
        if dimension is not None and loss.least_dimension > dimension:
            message = (
                f"this loss reads {loss.least_dimension} dimensions, but the vectors of the "
                f"trained encoder have {dimension}"
            )
            draft.report((*path, "use"), message, "RK107")
    for path, loss in losses:
        use = str(draft.bound[path].fields.get("use"))
        if similarity is not None and (
            message := unusable_similarity(use, loss, similarity, encoder)
        ):
            draft.report((*path, "use"), message, "RK107")


def unusable_similarity(
    use: str, loss: LossSpec, similarity: Similarity, encoder: EncoderSpec
) -> str:
    """Return why a loss cannot train an encoder with a similarity; empty if it can."""
    if similarity in loss.similarities:
        return ""
    if encoder.stored_passages() is None:
        owner = "the similarity of the trained encoder"
        remedy = f"set `similarity: {loss.similarities[0]}` for the encoder, or use"
    else:  # the encoder's own similarity would not change how the index compares
        owner = "the similarity of its passage_vectors"
        remedy = "use other vectors, or"
    *others, last = loss.similarities
    possible = f"{', '.join(others)} or {last}" if others else last
    return f"'{use}' compares by {possible}, but {owner} is {similarity}: {remedy} another loss"


def _trained_name(draft: Draft) -> str:
    default = TrainSection.model_fields["encoder"].default
    return str(draft.mapping("train").get("encoder", default))


def _phase_around(draft: Draft, path: KeyPath) -> tuple[str, PhaseSpec] | None:
    """Return the phase that contains a slot, directly or within other losses, and its name."""
    for end in range(len(path) - 1, 0, -1):
        slot = draft.bound.get(path[:end])
        if slot is not None and isinstance(slot.spec, PhaseSpec):
            return str(slot.fields.get("use")), slot.spec
    return None
