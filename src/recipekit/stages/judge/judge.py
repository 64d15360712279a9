"""The judge stage: every judge gives verdicts on the candidates that it gets, in recipe order.

It reads `candidates.arrow` and writes `judgments.arrow` (`JUDGMENTS`), the source labels and the
last verdict on every judged pair, and `reliability.json`, how the judges do on control pairs. A
pair without a verdict has no row. Each judge's verdicts are appended to
`scratch/verdicts/<judge>/` as they come (see `recipekit.judging.verdict_log`), and a judge can keep
files of its own in `scratch/judges/<judge>/`, so a run that was killed judges only what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recipekit.arrays import Bools
from recipekit.artifacts.store import write_json
from recipekit.component import Judge, JudgeSpec
from recipekit.errors import RunError
from recipekit.judging.agreement import FIGURES
from recipekit.judging.candidate_pairs import JudgeTask, load_pairs
from recipekit.judging.control_pairs import ControlPairs, HumanLabels, read_human_labels
from recipekit.judging.floors import (
    LABEL_MORE_PAIRS,
    check_floors,
    deciding_labels,
    enforce_floors,
    unmeasurable,
)
from recipekit.judging.judgments import judgment_batches
from recipekit.judging.policy import ReliabilityFloors
from recipekit.judging.reliability import RELIABILITY_FILE, Reliability
from recipekit.judging.tasks import MAX_PAIRS_STREAM, PairUniforms, select_task
from recipekit.judging.verdict_log import VerdictLog, verdicts_of
from recipekit.judging.verdicts import depends_on_verdicts
from recipekit.stages.inputs import StageInputs
from recipekit.stages.judge.section import JudgeSection
from recipekit.stages.judge.summary import (
    LiveFigures,
    count_verdicts,
    pairs_over_budget,
    spending_summary,
    summarize,
)
from recipekit.tables import JUDGMENTS, read_table, write_table

__all__ = ["judge"]

CONTROL_STREAM = 0x6B6E6F776E
"""Separates the random choice of control pairs from others with the same seed."""


def judge(inputs: StageInputs, section: JudgeSection, out: Path) -> dict[str, Any]:
    """Judge the candidates, write `out/judgments.arrow` and return the summary.

    All ranks build the judges, since embeddings are encoded by all ranks together; the main rank
    judges.

    Returns:
        `candidates`, `queries`, `source_labels` (by label), `judges` (for each: `pairs` it got,
        `control_pairs` it got in addition, `judged`, `verdicts`, `by_rank`, and its own `counts`),
        final `verdicts` and `unjudged`, `overruled` (source labels), `false_negatives`
        (unlabelled candidates that are now positive or ignored, and per query), `reliability`
        (short), `spent` and `notes`.

    Raises:
        RunError: There are no candidates, or the reliability floors are not reached or cannot be
            measured.
        ComponentError: A judge broke its contract.
        DataError: The human labels are malformed or of other data.
    """
    if inputs.dataset is None or "candidates" not in inputs.files:
        raise RunError("there is nothing to judge: this recipe has no mine section", code="RK620")
    specs = {name: slot.spec for name, slot in section.judges.items()}
    judges = {
        name: spec.build(inputs.context(out / "scratch" / "judges" / name))
        for name, spec in specs.items()
    }
    summary = {}
    if inputs.ranks.is_main:
        summary = _MainRank(inputs, section, specs, out).judge_all(judges)
    inputs.ranks.barrier()
    return summary


class _MainRank:
    """The pairs, and what each judge gets and returns."""

    def __init__(
        self, inputs: StageInputs, section: JudgeSection, specs: Mapping[str, JudgeSpec], out: Path
    ) -> None:
        assert inputs.dataset is not None
        self.inputs = inputs
        self.section = section
        self.specs = specs
        self.out = out
        self.dataset = inputs.dataset
        self.measured = [name for name, spec in specs.items() if type(spec).measured]
        self.human = section.control_pairs.human_labels is not None
        self.logs = {name: VerdictLog(out / "scratch" / "verdicts" / name) for name in specs}
        self.pairs = load_pairs(
            self.dataset,
            read_table(inputs.files["candidates"]),
            remember={spec.disagreeing_with for spec in specs.values() if spec.disagreeing_with},
        )
        self.control_of: dict[str, Bools] = {}
        """The control pairs that each judge got, of the judges that have started, (m,)."""
        self.finished: set[str] = set()
        if self.measured:
            self.pairs.control_pairs = self._select_control_pairs()

    def judge_all(self, judges: Mapping[str, Judge]) -> dict[str, Any]:
        """Run every judge, write the judgments, measure the judges, and return the summary."""
        stats: dict[str, dict[str, Any]] = {}
        self._check_floors()
        for code, (name, built) in enumerate(judges.items(), start=1):
            task = self._task(name)
            self.control_of[name] = task.control
            if self.finished and name in self.measured:
                self._check_floors()  # the judges before have decided more
            stats[name] = self._run(name, code, built, task)
            self.finished.add(name)
        write_table(
            self.out / "judgments.arrow",
            JUDGMENTS,
            judgment_batches(self.pairs, ["source", *judges], list(self.logs.values())),
        )
        codes = [code for code, name in enumerate(judges, start=1) if name in self.measured]
        summary = summarize(self.pairs, stats, codes)
        summary |= spending_summary(self.inputs.spending, stats, self.inputs.progress)
        if self.measured or self.section.require != ReliabilityFloors():
            summary["reliability"] = self._measure(pairs_over_budget(stats))
        return summary

    # One judge
    # ----------------------------------------------------------------------------------------------

    def _task(self, name: str) -> JudgeTask:
        before = self._before(name)
        return select_task(
            self.pairs,
            self.specs[name],
            rejudge_source_labels=self.section.rejudge_source_labels,
            measured_before=[other for other in before if other in self.measured],
            uniforms=self._uniforms(MAX_PAIRS_STREAM),
            control_share=self.section.control_pairs.share,
        )

    def _run(self, name: str, code: int, built: Judge, task: JudgeTask) -> dict[str, Any]:
        """Read back a judge's verdicts from before a kill, get the missing ones, and count them."""
        pairs, log = self.pairs, self.logs[name]
        control_only = task.control & ~task.wanted[pairs.control_pairs.rows]
        stats: dict[str, Any] = {"pairs": int(task.wanted.sum())}
        if name in self.measured:
            stats["control_pairs"] = int(control_only.sum())
        previous_verdict = pairs.previous_verdicts(self.specs[name], task)
        source_positive = pairs.standing_positives()
        total = int(task.open.sum())
        live = LiveFigures(total)
        with self.inputs.progress.track(f"judge {name}", total=total, unit="pairs") as tracker:
            for batch in log.batches():
                verdicts = verdicts_of(batch)
                tracker.advance(pairs.apply(name, code, verdicts, task), **live.add(verdicts, {}))
            if log.complete:
                counts = log.counts
            else:
                live.start_attempt()
                # A copy, because `open` shrinks while the judge still reads batches.
                batches = pairs.batches(task.open.copy(), source_positive, previous_verdict)
                with log:
                    for verdicts in built.judge(batches):
                        n = pairs.apply(name, code, verdicts, task)
                        log.append(verdicts)
                        tracker.advance(n, **live.add(verdicts, built.figures))
                counts = dict(built.counts)
                log.finish(counts)
        stats |= count_verdicts(pairs, pairs.verdicts.judge == code)
        return {**stats, "counts": counts} if counts else stats

    def _before(self, name: str) -> list[str]:
        names = list(self.specs)
        return names[: names.index(name)]

    def _uniforms(self, stream: int) -> PairUniforms:
        return PairUniforms(self.pairs, self.dataset, self.inputs.seed, stream)

    # Control pairs and reliability
    # ----------------------------------------------------------------------------------------------

    def _select_control_pairs(self) -> ControlPairs:
        """A seeded share of the labelled candidates, and the candidates that people labelled.

        With `rejudge_source_labels` all labelled candidates, which are judged anyway.
        """
        pairs, policy = self.pairs, self.section.control_pairs
        labelled = np.flatnonzero(pairs.labelled & (pairs.rank > 0))
        if not self.section.rejudge_source_labels:
            labelled = labelled[self._uniforms(CONTROL_STREAM)(labelled) < policy.share]
        human = read_human_labels(policy, self.dataset, self.inputs.progress)
        n_passages = pairs.n_passages
        rows, candidate = pairs.find(human.keys // n_passages, human.keys % n_passages)
        candidate[candidate] = pairs.rank[rows[candidate]] > 0
        control = ControlPairs.join(
            labelled,
            pairs.verdicts.verdict[labelled],
            rows[candidate],
            HumanLabels(human.keys[candidate], human.verdict[candidate], human.weight[candidate]),
            self.measured,
        )
        control.not_candidates = int((~candidate).sum())
        if control.not_candidates:
            self.inputs.progress.warn(
                f"{control.not_candidates:,} of the {len(human.keys):,} pairs in "
                f"{policy.human_labels} are not candidates, and no judge gets them"
            )
        return control

    def _check_floors(self) -> None:
        """Check that the required figures can be measured, as far as is known."""
        if self.section.require == ReliabilityFloors():
            return
        undecidable = self._undecidable()
        if undecidable is not None and not self.human:
            raise unmeasurable([undecidable], [LABEL_MORE_PAIRS])
        control = self.pairs.control_pairs
        expected = np.zeros(len(control), dtype=np.bool_)
        for name in self.measured:
            expected |= self._expected_control_pairs(name)
        truth = control.truth[expected & (control.human == self.human)]
        check_floors(self.section.require, truth, human=self.human)

    def _expected_control_pairs(self, name: str) -> Bools:
        """The control pairs that a judge gets, (m,).

        Of a judge that depends on judges which have not finished, those that it could get.
        """
        if name in self.control_of:
            return self.control_of[name]
        spec = self.specs[name]
        if depends_on_verdicts(spec) and not self.finished.issuperset(self._before(name)):
            return self.pairs.in_rank_range(spec)[self.pairs.control_pairs.rows]
        return self._task(name).control

    def _undecidable(self) -> str | None:
        """Why the final verdict on source labels cannot be known, if it cannot.

        A judge that is not measured gives no verdict on control pairs, so a measured judge that
        depends on its verdicts gets all control pairs, and not those it would get in a cascade.
        """
        if len(self.measured) < 2:
            return None
        for name in self.measured:
            spec, before = self.specs[name], self._before(name)
            for other in (*before[-1:], spec.disagreeing_with):
                unmeasured = other in before and other not in self.measured
                if unmeasured and depends_on_verdicts(spec):
                    return (
                        f"judge '{name}' depends on '{other}', which does not judge control pairs"
                    )
        return None

    def _measure(self, over_budget: Mapping[str, int]) -> dict[str, Any]:
        """Measure the judges, write the figures, and enforce the recipe's floors."""
        codes = enumerate(self.specs.values(), start=1)
        reliability = Reliability(
            self.pairs,
            self.dataset,
            {name: int(self.control_of[name].sum()) for name in self.measured},
            self._undecidable(),
            [code for code, spec in codes if type(spec).human],
            self.human,
        ).measure(self.logs, self.inputs.seed)
        files = [self.out / RELIABILITY_FILE]
        if self.inputs.run is not None:
            files.append(self.inputs.run / RELIABILITY_FILE)
        for file in files:
            write_json(file, reliability)
        enforce_floors(
            reliability, self.section.require, file=str(files[-1]), over_budget=over_budget
        )
        deciding = deciding_labels(reliability)
        found = reliability[deciding]
        return {
            name: {"labels": deciding, "pairs": figures["pairs"], **_values(figures)}
            for name, figures in {**found["judges"], "final": found["final"]}.items()
        }


def _values(figures: Mapping[str, Any]) -> dict[str, float | None]:
    """The figures without their intervals."""
    return {name: figures[name]["value"] if figures[name] else None for name in FIGURES}
