"""Runs mteb's tasks with the encoders of a recipe."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import datasets
import numpy as np
import torch
from mteb import ResultCache, evaluate
from mteb.models.abs_encoder import get_prompt_name
from mteb.models.model_meta import ModelMeta
from mteb.types import PromptType

from recipekit.artifacts.key import key_of
from recipekit.component import Context, Embed, System, TakesPrompts
from recipekit.errors import RecipekitError, RunError
from recipekit.evaluators.mteb_local_tasks import is_local, local_tasks
from recipekit.evaluators.mteb_names import SIDE_PROMPTS, task_of_prompt
from recipekit.evaluators.mteb_query_values import has_query_values, query_values
from recipekit.evaluators.mteb_rows import MainScore, mteb_rows
from recipekit.evaluators.mteb_tasks import named_tasks
from recipekit.evaluators.mteb_values_file import MTEB_VALUES, read_values, write_values
from recipekit.records import Side, Similarity
from recipekit.search.similarity import pair_scores, tile_scores

if TYPE_CHECKING:
    from mteb.abstasks.task_metadata import TaskMetadata

    from recipekit.evaluators.mteb import MtebSpec

__all__ = ["MtebEvaluator"]

RANKING: Final = ("Retrieval", "Reranking")
"""Parts of the types of tasks whose texts are queries and documents, with the encoder's prompts."""


class MtebEvaluator:
    """Runs the tasks of a spec. All ranks call `evaluate` together."""

    def __init__(self, spec: MtebSpec, context: Context) -> None:
        self.spec, self.context = spec, context

    def evaluate(self, systems: Sequence[System]) -> Sequence[Mapping[str, Any]]:
        """Return each system's main score of each task, and their mean if there are several.

        Scores of retrieval and reranking have intervals, and `differences` of the last system to
        the others. mteb's result files are `results/SYSTEM/TASK.json` in the evaluator's folder,
        and the scores of single queries `results/SYSTEM/TASK.per_query.json`.

        Raises:
            RunError: A task cannot be loaded or run.
        """
        local = local_tasks(self.spec, lambda: self.context.dataset, self.context.scratch)
        tasks = [*named_tasks(self.spec), *local]
        self._warn_of_unused_prompts(tasks)
        scores = {
            system.name: {
                f"{task.metadata.name} {task.metadata.main_score}": self._entries(task, system)
                for task in tasks
            }
            for system in systems
            if system.embed is not None
        }
        if not scores or not self.context.ranks.is_main:
            return []
        return mteb_rows(self.spec, scores, self.context.seed)

    def _warn_of_unused_prompts(self, tasks: Sequence[Any]) -> None:
        known = {name for task in tasks for name in (task.metadata.name, task.metadata.type)}
        unused = [name for name in self.spec.prompts if task_of_prompt(name) not in known]
        if unused:
            self.context.progress.warn(
                f"mteb: no task that is evaluated has the name or type of the prompts for "
                f"{', '.join(unused)}"
            )

    def _entries(self, task: Any, system: System) -> list[MainScore]:
        """Return the main score of each split and subset of a task; none but on the main rank."""
        name = task.metadata.name
        cache, folder = self._cache(task), self.context.scratch / "results" / system.name
        encoder = _MtebEncoder(system, self.spec.prompts)
        kept = cache.get_task_result_path(name, encoder.mteb_model_meta)
        kept_values = kept.with_suffix(MTEB_VALUES)
        is_complete = _is_complete(cache.load_task_result(name, encoder.mteb_model_meta), task)
        is_cached = is_complete and (kept_values.is_file() or not has_query_values(task))
        # Encoding is collective: all ranks do what the main one finds.
        is_cached = bool(self.context.ranks.broadcast(is_cached))
        if not is_cached:
            self.context.progress.info(f"mteb: {name} with '{system.name}'")
        elif not self.context.ranks.is_main:
            return []
        with query_values(task) as values:
            result = self._run(task, encoder, cache, again=not is_cached)
        if not self.context.ranks.is_main:
            return []
        if values:
            write_values(kept_values, values)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kept, folder / f"{name}.json")
        if kept_values.is_file():
            shutil.copyfile(kept_values, folder / f"{name}{MTEB_VALUES}")
        found = read_values(kept_values)
        return [
            MainScore(
                f"{split} {entry['hf_subset']}",
                float(entry["main_score"]),
                found.get((split, entry["hf_subset"]), {}),
            )
            for split, entries in result.scores.items()
            for entry in entries
        ]

    def _run(self, task: Any, encoder: _MtebEncoder, cache: ResultCache, *, again: bool) -> Any:
        name = task.metadata.name
        try:
            datasets.disable_progress_bars()  # the run shows its own progress
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of libraries that mteb calls
                done = evaluate(
                    encoder,
                    task,
                    cache=cache,
                    overwrite_strategy="always" if again else "only-missing",
                    co2_tracker=False,
                    show_progress_bar=False,
                )
            return done.task_results[0]
        except RecipekitError:
            raise
        except Exception as error:  # each library raises errors of its own
            lines = str(error).strip().splitlines()
            reason = f"{type(error).__name__}: {lines[0]:.300}" if lines else type(error).__name__
            if not is_local(task):
                reason += (
                    ". mteb downloads its data from the Hub; without a network, only cached tasks "
                    "and local data work"
                )
            message = f"mteb task '{name}' cannot be run: {reason}"
            raise RunError(message, code="RK647") from error

    def _cache(self, task: Any) -> ResultCache:
        """Return mteb's cache for a task; it is empty on ranks but the main one.

        Every revision, version of mteb, and choice of languages, splits and prompts has its own:
        mteb would use a result of another revision, and would return the other languages of an
        earlier result, too. A rank that found a result of an interrupted attempt would not encode,
        and the others would wait for it.
        """
        ranks = self.context.ranks
        root = self.context.library_cache if ranks.is_main else None
        root = root or self.context.scratch / f"cache.{ranks.rank}"
        if not ranks.is_main:
            shutil.rmtree(root, ignore_errors=True)
        revision = str(task.metadata.dataset.get("revision"))
        parts: list[Any] = [revision, version("mteb")]
        parts += [sorted(task.hf_subsets), sorted(task.eval_splits), self.spec.prompts]
        return ResultCache(root / "mteb" / key_of(parts)[:32])


def _is_complete(result: Any, task: Any) -> bool:
    """Return whether a kept result, if there is one, has all of a task's languages and splits."""
    return result is not None and not result.get_missing_evaluations(task)


class _MtebEncoder:
    """A system as mteb's EncoderProtocol.

    Args:
        system: The system, which has an encoder.
        prompts: Prompts by task or type of task, as mteb names them.
    """

    def __init__(self, system: System, prompts: Mapping[str, str]) -> None:
        assert system.embed is not None and system.similarity is not None
        assert system.encoder is not None
        self._embed: Embed = system.embed
        self._similarity: Similarity = system.similarity
        self._encoder, self._prompts = system.encoder, prompts
        self.mteb_model_meta = ModelMeta.create_empty(
            {"name": "recipekit/encoder", "revision": system.key or system.name}
        )

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> Any:
        """Embed the texts: documents as passages, all others as queries."""
        texts = [text for batch in inputs for text in batch["text"]]
        side: Side = "passage" if prompt_type == PromptType.document else "query"
        return self._embed(texts, side, self._prompt(task_metadata, prompt_type))

    def _prompt(self, task: TaskMetadata, prompt_type: PromptType | None) -> str | None:
        """Return the prompt of a task; None for that of the side."""
        name = get_prompt_name(self._prompts, task, prompt_type)
        if name is not None:
            return self._prompts[name]
        if any(kind in task.type for kind in RANKING):
            return None
        encoder = self._encoder()
        named = encoder.named_prompts if isinstance(encoder, TakesPrompts) else {}
        of_tasks = {name: prompt for name, prompt in named.items() if name not in SIDE_PROMPTS}
        name = get_prompt_name(of_tasks, task, prompt_type)
        return None if name is None else of_tasks[name]

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Compare all with all, (n, m)."""
        return tile_scores(_tensor(embeddings1), _tensor(embeddings2), self._similarity)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Compare pair by pair, (n,)."""
        pair = (_tensor(embeddings1).numpy(), _tensor(embeddings2).numpy())
        return torch.from_numpy(np.asarray(pair_scores(*pair, self._similarity)))


def _tensor(embeddings: Any) -> torch.Tensor:
    vectors = torch.as_tensor(embeddings)
    return vectors[None] if vectors.ndim == 1 else vectors
