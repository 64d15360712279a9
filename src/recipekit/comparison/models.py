"""The models that are compared: a model's files, or a run's encoder before or after training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from recipekit.artifacts.key import FileHashes, key_of, slot_identity
from recipekit.comparison.arguments import Argument, first_mistake, wrong_option
from recipekit.comparison.measured_encoders import MeasuredEncoders
from recipekit.comparison.model_kinds import BI_ENCODER, fetch_small_files, kind_of
from recipekit.component import EncoderSpec, EncoderWeights, Slot
from recipekit.encoders.bi_encoder import BiEncoderSpec
from recipekit.encoding.model_card import licence_of
from recipekit.encoding.model_files import local_folder
from recipekit.errors import ModelError, RunError
from recipekit.pipeline.search_run import recipe_encoder, run_artifacts
from recipekit.recipe.sections import Recipe
from recipekit.registry import resolve
from recipekit.stages import trained_encoder, training_artifact

__all__ = ["ComparedModel", "check_models", "model_of_files", "model_of_run"]

ENCODER = "encoder"
"""The name of a model's encoder in the inputs of its own evaluation."""


@dataclass(frozen=True)
class ComparedModel:
    """A model that is measured here."""

    label: str
    """Its name in tables."""
    argument: Argument
    what: str
    """What was named: `model`, or `run, trained`."""
    encoders: MeasuredEncoders
    encoder: str
    """Its name among `encoders`."""
    weights_id: str
    """Identifies the weights, without prompts or lengths."""
    kind: str = BI_ENCODER
    licence: str | None = None
    weights: EncoderWeights | None = None
    trained_from: str | None = None
    """`weights_id` of the weights that training started from."""
    recipe: str | None = None
    """The name of its recipe, if it belongs to a run."""
    base_model: str | None = None
    """The model that it starts from."""

    @property
    def is_trained(self) -> bool:
        """Whether a recipe trained it."""
        return self.encoders.training is not None

    @property
    def kept_dimensions(self) -> int | None:
        """How many dimensions its compression keeps; None for all."""
        keys = self.argument.compression
        return None if keys is None else keys.pca or keys.dimensions

    def check_dimensions(self, own: int | None) -> None:
        """Check that no more dimensions are to be kept than the model has, as far as it is known.

        Raises:
            RunError: There are fewer.
        """
        kept = self.kept_dimensions
        if own is not None and kept is not None and kept > own:
            raise RunError(
                f"{self.argument.text}: this model has {own} dimensions, so {kept} cannot be kept",
                code="RK673",
            )

    def is_made_from(self, other: ComparedModel) -> bool:
        """Return whether it is the other model after a change.

        It was trained from the other's weights, has the same weights with other options, or is what
        another run of the same recipe trained.
        """
        same_recipe = self.recipe is not None and self.recipe == other.recipe
        return (same_recipe and self.is_trained) or other.weights_id in (
            self.weights_id,
            self.trained_from,
        )


def model_of_files(
    argument: Argument, model: str, folder: Path, hashes: FileHashes
) -> ComparedModel:
    """Return the model that a Hub id, a folder or `package:NAME/FOLDER` names.

    Args:
        argument: The argument.
        model: The model as a recipe would name it, with relative paths as `./FOLDER`.
        folder: The folder that relative paths start from.
        hashes: Content hashes of files.

    Raises:
        ModelError: There is no such model.
        RunError: An option has a wrong value.
    """
    if argument.before:
        raise RunError(
            f"{argument.text}: 'before' is the starting model of a run, and this is not a run",
            code="RK673",
        )
    options = argument.model_options or {}
    try:
        spec = BiEncoderSpec.model_validate({"model": model, **options}, context={"folder": folder})
    except ValidationError as error:
        key, message = first_mistake(error)
        if key == "model":
            raise ModelError(f"{argument.text}: {message}", code="RK401") from error
        raise wrong_option(argument.text, error) from error
    files = local_folder(spec.model)
    if files is None:
        files = fetch_small_files(spec.model, spec.commit())
    slot: Slot[EncoderSpec] = Slot(use="bi_encoder")
    slot.bind(resolve("encoder", "bi_encoder"), spec)
    return ComparedModel(
        label=f"{_short_name(spec.model)}{argument.suffix}",
        argument=argument,
        what="model",
        encoders=MeasuredEncoders({ENCODER: slot}),
        encoder=ENCODER,
        weights_id=_weights_id(slot, hashes),
        kind=kind_of(files),
        licence=licence_of(files),
    )


def _short_name(model: str) -> str:
    """The last part of a model's name that says something: neither `model` nor `encoder`."""
    parts = [part for part in model.removeprefix("package:").split("/") if part]
    telling = [part for part in parts if part not in ("model", "encoder")]
    return (telling or parts)[-1]


def model_of_run(
    argument: Argument, run: Path, recipe: Recipe, hashes: FileHashes
) -> ComparedModel:
    """Return the trained encoder of a run, or the one that it started from.

    Args:
        argument: The argument.
        run: The run's folder.
        recipe: Its recipe.
        hashes: Content hashes of files.

    Raises:
        RunError: The run has no such encoder, or its artifacts are gone.
    """
    _refuse_model_options(argument)
    training = training_artifact(dict(run_artifacts(run)))
    trained = None if training is None else trained_encoder(recipe)
    if training is None and not argument.before:
        raise RunError(
            f"{argument.text}: this run trained no model; {argument.target}:before is the model "
            "that its recipe starts from",
            code="RK627",
        )
    name = trained or recipe_encoder(run, recipe)
    assert recipe.encoders is not None, "recipe_encoder found one"
    slot = recipe.encoders[name]
    initial = _weights_id(slot, hashes)
    base = _base_model(slot.spec)
    model = ComparedModel(
        label=f"{recipe.name}{argument.suffix}",
        argument=argument,
        what="run, before training" if argument.before else "run, trained",
        encoders=MeasuredEncoders(recipe.encoders),
        encoder=name,
        weights_id=initial,
        kind=BI_ENCODER if base is None else kind_of(base),
        licence=None if base is None else licence_of(base),
        recipe=recipe.name,
        base_model=slot.spec.base_model,
    )
    if argument.before or training is None:
        return model
    return replace(
        model,
        encoders=MeasuredEncoders(recipe.encoders, trained, training),
        weights="trained",
        weights_id=training.key,
        trained_from=initial,
    )


def _refuse_model_options(argument: Argument) -> None:
    if options := argument.model_options:
        raise RunError(
            f"{argument.text}: '{next(iter(options))}' is an option of models; a run has it in its "
            "recipe",
            code="RK673",
        )


def _weights_id(slot: Slot[Any], hashes: FileHashes) -> str:
    identity = slot_identity(slot, hashes)
    return key_of({"files": identity["files"], "revision": identity["fingerprint"]})


def _base_model(spec: EncoderSpec) -> Path | None:
    """The folder of the model that an encoder starts from, if its files are here."""
    if not isinstance(spec, BiEncoderSpec):
        return None
    try:
        return local_folder(spec.model) or fetch_small_files(spec.model, spec.commit())
    except ModelError:
        return None


def check_models(models: Sequence[ComparedModel]) -> None:
    """Check that all models can be compared, as far as their files tell.

    Raises:
        RunError: Their kinds differ, they are not bi-encoders, or one has too few dimensions.
    """
    kinds = {model.argument.text: model.kind for model in models}
    if len(set(kinds.values())) > 1:
        listed = ", ".join(f"{name} is a {kind}" for name, kind in kinds.items())
        raise RunError(f"models of different kinds cannot be compared: {listed}", code="RK671")
    for name, kind in kinds.items():
        if kind != BI_ENCODER:
            raise RunError(f"{name} is a {kind}; compare measures bi-encoders", code="RK671")
    for model in models:
        model.check_dimensions(model.encoders.slots[model.encoder].spec.known_dimension())
