"""Tables that the `datasets` library reads, from the Hugging Face Hub or a local folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipekit.data_files.locations import RecordLocation, Row
from recipekit.encoding.model_files import hub_http_error
from recipekit.errors import ComponentError, DataError

__all__ = ["HubTable", "resolved_revision"]

SHUFFLE_BUFFER = 10_000
BATCH = 1000


@dataclass(frozen=True)
class HubTable:
    """One configuration of a data set."""

    dataset: str
    """The id on the Hub, or the path of a folder."""
    config_name: str | None = None
    revision: str | None = None
    streaming: bool = False
    cache: Path | None = None
    """Where converted files of a folder are stored; None means the user's Hugging Face cache."""
    local: bool = False
    """Whether `dataset` is the path of a folder."""

    @property
    def title(self) -> str:
        """The name in error messages."""
        return f"{self.dataset} ({self.config_name})" if self.config_name else self.dataset

    def splits(self) -> list[str]:
        """Return the names of the splits.

        Raises:
            DataError: The data set cannot be reached or read.
        """
        import datasets

        with _data_errors(self):
            if self._is_saved("dataset_dict.json"):
                return sorted(datasets.load_from_disk(self.dataset))
            if self._is_saved("state.json"):
                return [str(datasets.load_from_disk(self.dataset).split or "train")]
            return list(
                datasets.get_dataset_split_names(
                    self.dataset,
                    self.config_name,
                    revision=self.revision,
                    cache_dir=self._cache(),
                )
            )

    def rows(
        self,
        split: str,
        columns: Sequence[str] | None = None,
        sample: int | None = None,
        seed: int = 0,
    ) -> Iterator[Row]:
        """Return the rows of a split in the order of the table.

        Args:
            split: The name of the split.
            columns: The columns to read; None reads all.
            sample: The number of rows to draw; None reads all. A streamed table is sampled through
                a shuffle buffer, so that only its beginning is read.
            seed: The seed of the sample.

        Raises:
            DataError: The data set cannot be reached or read, or has no such split.
        """
        name = f"{self.title} [{split}]"
        with _data_errors(self):
            table = self._open(split)
            if columns is not None:
                table = table.select_columns(list(columns))
        numbers: Any = None
        if sample is not None and self.streaming:
            table = table.shuffle(seed=seed, buffer_size=SHUFFLE_BUFFER).take(sample)
        elif sample is not None and sample < len(table):
            import numpy as np

            chosen = np.sort(np.random.default_rng(seed).choice(len(table), sample, replace=False))
            table, numbers = table.select(chosen), chosen + 1
        return self._numbered(table, name, numbers)

    def columns(self, split: str) -> list[str]:
        """Return the names of the columns."""
        with _data_errors(self):
            table = self._open(split)
            # If the files of a stream do not declare columns, its first row shows them.
            return list(table.column_names or next(iter(table.take(1)), {}))

    def _numbered(self, table: Any, name: str, numbers: Any) -> Iterator[Row]:
        row = 0
        with _data_errors(self):
            for batch in table.iter(batch_size=BATCH):
                for values in zip(*batch.values(), strict=True):
                    number = row + 1 if numbers is None else int(numbers[row])
                    row += 1
                    yield RecordLocation(name, row=number), dict(zip(batch, values, strict=True))

    def _open(self, split: str) -> Any:
        import datasets

        datasets.disable_progress_bars()
        if self._is_saved("dataset_dict.json"):
            tables = datasets.load_from_disk(self.dataset)
            if split not in tables:
                raise DataError(
                    f"{self.title}: no split '{split}'; found {', '.join(sorted(tables))}",
                    code="RK311",
                )
            return tables[split]
        if self._is_saved("state.json"):
            return datasets.load_from_disk(self.dataset)
        return datasets.load_dataset(
            self.dataset,
            self.config_name,
            split=split,
            revision=self.revision,
            streaming=self.streaming,
            cache_dir=self._cache(),
        )

    def _is_saved(self, state_file: str) -> bool:
        """Return whether `save_to_disk` wrote the folder, with this state file."""
        return self.local and (Path(self.dataset) / state_file).is_file()

    def _cache(self) -> str | None:
        return str(self.cache) if self.cache else None


@contextmanager
def _data_errors(table: HubTable) -> Iterator[None]:
    """Raise the errors of `datasets` as a `DataError` of one line."""
    from datasets.exceptions import DatasetsError

    try:
        yield
    except ConnectionError as error:
        raise DataError(_unreachable(table.title), code="RK310") from error
    except (OSError, ValueError, TypeError, DatasetsError) as error:
        if table.local:
            raise DataError(f"{table.title}: {_reason(error)}", code="RK311") from error
        raise DataError(
            f"data set '{table.title}' on the Hugging Face Hub: {_reason(error)}", code="RK311"
        ) from error


def _unreachable(dataset: str) -> str:
    return (
        f"data set '{dataset}' is not in the local cache, and the Hugging Face Hub cannot be "
        "reached: run once with a network, or set `folder` to a copy on disk"
    )


def _reason(error: BaseException) -> str:
    while type(error).__name__ == "DatasetGenerationError" and error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def resolved_revision(dataset: str, revision: str | None) -> str:
    """Return the commit of a revision, from the local cache or else from the Hub.

    The cache comes first, so that a data set does not change for a recipe until it is downloaded
    again. A revision that is a commit is returned unchanged.

    Raises:
        ComponentError: The revision is not in the cache, and the Hub has no such revision or cannot
            be reached.
    """
    from huggingface_hub import constants

    revision = revision or "main"
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    folder = Path(constants.HF_HUB_CACHE) / f"datasets--{dataset.replace('/', '--')}"
    cached = folder / "refs" / revision
    return cached.read_text().strip() if cached.is_file() else _revision_on_hub(dataset, revision)


def _revision_on_hub(dataset: str, revision: str) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        return str(HfApi().dataset_info(dataset, revision=revision, timeout=10).sha)
    except HfHubHTTPError as error:
        raise ComponentError(
            f"data set '{dataset}' on the Hugging Face Hub: {_reason(error)}", code="RK210"
        ) from error
    except HFValidationError as error:
        raise ComponentError(
            f"'{dataset}' is not a valid name of a data set on the Hub: {_reason(error)}",
            code="RK210",
        ) from error
    except (OfflineModeIsEnabled, hub_http_error(), OSError) as error:
        raise ComponentError(_unreachable(dataset), code="RK210") from error
