"""Tables that the `datasets` library reads: a data set on the Hugging Face hub, or a folder in any
form that it knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recipekit.encoding.model_files import hub_http_error
from recipekit.errors import ComponentError, DataError
from recipekit.sources.locations import RecordLocation, Row

__all__ = ["HubTable", "resolved_revision"]

SHUFFLE_BUFFER = 10_000
BATCH = 1000


@dataclass(frozen=True)
class HubTable:
    """One configuration of a data set."""

    dataset: str
    """Hub id, or the path of a folder."""
    config_name: str | None = None
    revision: str | None = None
    streaming: bool = False
    cache: Path | None = None
    """Where a folder's files are converted; None is the user's Hugging Face cache."""
    local: bool = False

    @property
    def title(self) -> str:
        """What errors call it."""
        return f"{self.dataset}{f' ({self.config_name})' if self.config_name else ''}"

    def splits(self) -> list[str]:
        """Names of its splits.

        Raises:
            DataError: It cannot be reached or read.
        """
        import datasets

        with _explained(self):
            if self._saved("dataset_dict.json"):
                return sorted(datasets.load_from_disk(self.dataset))
            if self._saved("state.json"):
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
        """Rows of a split, only some columns if they are named; a seeded sample of them in the
        order of the table.

        Of a streamed table the sample is drawn through a shuffle buffer, so that only its beginning
        is read.

        Raises:
            DataError: It cannot be reached or read, or there is no such split.
        """
        name = f"{self.title} [{split}]"
        with _explained(self):
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
        """Names of its columns."""
        with _explained(self):
            table = self._open(split)
            # A stream knows its columns only from its first row where its files declare none.
            return list(table.column_names or next(iter(table.take(1)), {}))

    def _numbered(self, table: Any, name: str, numbers: Any) -> Iterator[Row]:
        row = 0
        with _explained(self):
            for batch in table.iter(batch_size=BATCH):
                for values in zip(*batch.values(), strict=True):
                    number = row + 1 if numbers is None else int(numbers[row])
                    row += 1
                    yield RecordLocation(name, row=number), dict(zip(batch, values, strict=True))

    def _open(self, split: str) -> Any:
        import datasets

        datasets.disable_progress_bars()
        if self._saved("dataset_dict.json"):
            tables = datasets.load_from_disk(self.dataset)
            if split not in tables:
                raise DataError(
                    f"{self.title}: no split '{split}'; there are: {', '.join(sorted(tables))}",
                    code="RK311",
                )
            return tables[split]
        if self._saved("state.json"):
            return datasets.load_from_disk(self.dataset)
        return datasets.load_dataset(
            self.dataset,
            self.config_name,
            split=split,
            revision=self.revision,
            streaming=self.streaming,
            cache_dir=self._cache(),
        )

    def _saved(self, mark: str) -> bool:
        """Whether it is a folder that `save_to_disk` wrote; a stream of one is no different."""
        return self.local and (Path(self.dataset) / mark).is_file()

    def _cache(self) -> str | None:
        return str(self.cache) if self.cache else None


@contextmanager
def _explained(table: HubTable) -> Iterator[None]:
    """Turn what `datasets` raises into one line that says what was wanted and what would do."""
    from datasets.exceptions import DatasetsError

    try:
        yield
    except ConnectionError as error:
        raise DataError(_unreachable(table.title), code="RK310") from error
    except (OSError, ValueError, TypeError, DatasetsError) as error:
        if table.local:
            raise DataError(f"{table.title}: {_reason(error)}", code="RK311") from error
        raise DataError(
            f"data set '{table.title}' on the Hugging Face hub: {_reason(error)}", code="RK311"
        ) from error


def _unreachable(what: str) -> str:
    return (
        f"data set '{what}': the Hugging Face hub cannot be reached, and the local Hugging Face cache does not hold it; "
        "run once with a network, or set `folder` to a copy on disk"
    )


def _reason(error: BaseException) -> str:
    while type(error).__name__ == "DatasetGenerationError" and error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def resolved_revision(dataset: str, revision: str | None) -> str:
    """The commit that a revision of a hub data set means: itself, else what the local cache says,
    else what the hub says.

    The cache comes first, so that a data set does not change under a recipe until it is downloaded again.

    Raises:
        ComponentError: The cache does not hold it, and the hub cannot be reached.
    """
    from huggingface_hub import constants

    wanted = revision or "main"
    if re.fullmatch(r"[0-9a-f]{40}", wanted):
        return wanted
    ref = Path(constants.HF_HUB_CACHE) / f"datasets--{dataset.replace('/', '--')}" / "refs" / wanted
    if ref.is_file():
        return ref.read_text().strip()
    return _asked_revision(dataset, wanted)


def _asked_revision(dataset: str, revision: str) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        return str(HfApi().dataset_info(dataset, revision=revision, timeout=10).sha)
    except HfHubHTTPError as error:
        raise ComponentError(
            f"data set '{dataset}' on the Hugging Face hub: {_reason(error)}", code="RK210"
        ) from error
    except HFValidationError as error:
        raise ComponentError(
            f"'{dataset}' is not a valid name of a data set on the Hub: {_reason(error)}",
            code="RK210",
        ) from error
    except (OfflineModeIsEnabled, hub_http_error(), OSError) as error:
        raise ComponentError(_unreachable(dataset), code="RK210") from error
