"""The judge stage: a verdict on every candidate that somebody judges, in the order of the judges.

It reads `candidates.arrow`, and writes `judgments.arrow` (`JUDGMENTS`): the labels that the sources
gave, and the last verdict on every judged pair. What nobody judged has no row. Pairs whose truth is
known are judged blind among the rest, and what comes of that is `reliability.json`. While it works,
each judge's verdicts are appended to `scratch/verdicts/<judge>/` (see
`recipekit.judging.verdict_log`), and the judge itself may keep what it likes in
`scratch/judges/<judge>/`: a run that was killed judges only what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recipekit.arrays import Bools, Rows
from recipekit.artifacts.key import fields_identity, key_of
from recipekit.artifacts.store import write_json
from recipekit.component import Judge, JudgeSpec, Slot, Spending, is_identity
from recipekit.errors import RunError
from recipekit.judges.labels import LabelsSpec
from recipekit.judging.agreement import FIGURES
from recipekit.judging.candidate_pairs import JudgeTask, load_pairs
from recipekit.judging.control_pairs import (
    ControlPairs,
    HumanLabels,
    pair_uniforms,
    read_human_labels,
    select_control_pairs,
)
from recipekit.judging.policy import ReliabilityFloors
from recipekit.judging.reliability import (
    RELIABILITY_FILE,
    Reliability,
    check_floors,
    decisive_labels,
    enforce_floors,
)
from recipekit.judging.verdict_log import VerdictLog, verdicts_of
from recipekit.judging.verdict_state import Codes, conditional
from recipekit.records import Verdict
from recipekit.stages.inputs import StageInputs
from recipekit.stages.judge.section import JudgeSection
from recipekit.stages.judge.summary import (
    VerdictShares,
    counted,
    notes,
    pairs_over_budget,
    summarized,
)
from recipekit.tables import JUDGMENTS as SCHEMA
from recipekit.tables import read_table, write_table

__all__ = ["judge", "spending"]

SAMPLE_STREAM = 0x73616D706C65
KNOWN_STREAM = 0x6B6E6F776E
"""Keep the draws of samples and of known pairs apart from others of the same ids and seed."""


def judge(inputs: StageInputs, section: JudgeSection, out: Path) -> dict[str, Any]:
    """Judge the candidates, write `out/judgments.arrow` and return what was counted.

    The judges are built on every rank, since embeddings are encoded by all of them together; the
    main rank judges.

    Returns:
        `candidates`, `queries`, `source_labels` (positives and negatives that the sources gave), `judges`
        (for each: how many pairs it was asked about and judged, its verdicts, these by the
        candidate's rank, and what it counted itself), `verdicts` and `unjudged` (what stands in the
        end), `false_negatives` (unlabelled candidates that are now positive or ignored, and per
        query), `control_pairs` (short), `spent` and `notes`, where there are any.

    Raises:
        RunError: There are no candidates to judge, the judges stay below what the recipe requires,
            or this cannot be measured.
        ComponentError: A judge broke its contract.
        DataError: The labelled sample is wrong.
    """
    if inputs.dataset is None or "mine" not in inputs.artifacts:
        raise RunError("there is nothing to judge: this recipe has no mine section", code="RK620")
    specs = {name: slot.spec for name, slot in section.judges.items()}
    account = spending(inputs, section)
    judges: dict[str, Judge] = {
        name: spec.build(inputs.context(out / "scratch" / "judges" / name, account))
        for name, spec in specs.items()
    }
    summary = _Judging(inputs, section, specs, out).all(judges) if inputs.ranks.is_main else {}
    inputs.ranks.barrier()
    return summary


def spending(inputs: StageInputs, section: JudgeSection) -> Spending:
    """What the judges may spend together, booked to who judges what.

    It is the same account at every attempt at one artifact (whatever its concurrency, its address
    or its key), and also when only the limits are raised: what was spent up to the old one counts
    towards the new one.
    """
    policy = fields_identity(section, exclude=("judges", "max_cost_usd", "max_calls"))
    judges = [[name, _decisive(inputs, slot)] for name, slot in section.judges.items()]
    ledger = key_of(
        {
            "judge": policy,
            "judges": judges,
            "mine": inputs.artifacts["mine"].key,
            "seed": inputs.seed,
        }
    )
    return Spending(
        ledger, section.max_cost_usd, section.max_calls, inputs.store.root / "calls.sqlite"
    )


def _decisive(inputs: StageInputs, slot: Slot[JudgeSpec]) -> dict[str, Any]:
    """What is written of a judge that decides its verdicts."""
    known = type(slot.spec).model_fields
    fields = {
        name: value
        for name, value in slot.fields.items()
        if name not in known or is_identity(known[name])
    }
    return {
        "use": slot.use,
        "fields": fields,
        "files": {label: inputs.hashes.of(path) for label, path in slot.spec.files().items()},
    }


class _Judging:
    """The main rank's work: the pairs, and what each judge is asked and says."""

    def __init__(
        self, inputs: StageInputs, section: JudgeSection, specs: Mapping[str, JudgeSpec], out: Path
    ) -> None:
        assert inputs.dataset is not None
        self.inputs, self.section, self.specs, self.out, self.dataset = (
            inputs,
            section,
            specs,
            out,
            inputs.dataset,
        )
        self.measured = [name for name, spec in specs.items() if type(spec).measured]
        self.by_people = section.control_pairs.human_labels is not None
        self.undecided = self._undecided()
        self.journals = {name: VerdictLog(out / "scratch" / "verdicts" / name) for name in specs}
        remembered = {spec.disagreeing_with for spec in specs.values() if spec.disagreeing_with}
        self.pairs = load_pairs(
            self.dataset, read_table(inputs.artifacts["mine"].path / "candidates.arrow"), remembered
        )
        self.given: Codes = np.where(
            self.pairs.labelled, self.pairs.said.verdict, np.int8(Verdict.UNJUDGED)
        )
        """The labels that the candidates came with, (n,)."""
        self.spoken: set[str] = set()
        """The judges that have spoken."""
        self.asked: dict[str, Bools] = {}
        """Of measured ones, which blind pairs they are asked about."""
        if self.measured:
            self.pairs.blind = self._blind()

    def all(self, judges: Mapping[str, Judge]) -> dict[str, Any]:
        """Let every judge speak, write what was said, and count it."""
        self._check_floors()
        told: dict[str, Any] = {}
        blind: dict[str, int] = {}
        for code, (name, built) in enumerate(judges.items(), start=1):
            asked = self._ask(name)
            told[name] = {"seen": int(asked.wanted.sum())}
            if name in self.measured:
                self.asked[name] = asked.blind.copy()
                if self.spoken:  # what was said before it has decided more
                    self._check_floors()
                blind[name] = int(asked.blind.sum())
                told[name]["blind"] = int(
                    (asked.blind & ~asked.wanted[self.pairs.blind.rows]).sum()
                )
            counts = self._run(name, code, built, asked)
            self.spoken.add(name)
            told[name] |= counted(self.pairs, self.pairs.said.judge == code)
            if counts:
                told[name]["counts"] = counts
        batches = [journal.batches() for journal in self.journals.values()]
        write_table(
            self.out / "judgments.arrow",
            SCHEMA,
            self.pairs.judgments(["source", *judges], batches),
        )
        summary = summarized(
            self.pairs,
            told,
            [code for code, name in enumerate(judges, start=1) if name in self.measured],
        )
        summary |= notes(self.section, told, self.inputs.progress)
        if self.measured or self.section.require != ReliabilityFloors():
            summary["reliability"] = self._trust(blind, pairs_over_budget(told))
        return summary

    def _blind(self) -> ControlPairs:
        """The pairs of known truth: a seeded share of the labelled candidates (in an audit, all of
        them) and people's sample.
        """
        pairs, policy = self.pairs, self.section.control_pairs
        labelled = np.flatnonzero(pairs.labelled & (pairs.rank > 0))
        if not self.section.rejudge_source_labels:
            labelled = labelled[self._draws(labelled, KNOWN_STREAM) < policy.share]
        people = read_human_labels(policy, self.dataset, self.inputs.progress)
        rows, there = pairs.positions_of(people.keys)
        there &= pairs.rank[rows] > 0
        elsewhere = int((~there).sum())
        if elsewhere:
            told = f"{elsewhere:,} of the {len(people.keys):,} pairs in {policy.human_labels} are no candidates, and are not judged"
            self.inputs.progress.warn(told)
        sample = HumanLabels(people.keys[there], people.verdict[there], people.weight[there])
        return select_control_pairs(
            labelled, pairs.said.verdict[labelled], rows[there], sample, elsewhere, self.measured
        )

    def _check_floors(self) -> None:
        """See that what is required can be measured on the pairs that are asked about, as far as
        that is known by now.
        """
        if self.section.require == ReliabilityFloors():
            return
        blind = self.pairs.blind
        counts = blind.people == self.by_people
        names = " and ".join(
            f"the `max_pairs` of judge '{name}'"
            for name in self.measured
            if self.specs[name].max_pairs is not None
        )
        remedies: dict[str, Callable[[], Codes]] = {}
        if names:
            remedies[f"raise {names}"] = lambda: blind.truth[counts & self._askable(sampled=False)]
        if not self.by_people:
            remedies["raise judge.control_pairs.share" + f" and {names}" * bool(names)] = (
                self._labels_in_reach
            )
        truth = blind.truth[counts & self._askable(sampled=True)]
        check_floors(
            blind,
            self.section.require,
            truth,
            by_people=self.by_people,
            undecided=self.undecided,
            remedies=remedies,
        )

    def _askable(self, *, sampled: bool) -> Bools:
        """The blind pairs that measured judges are asked about, or may be, where judges before them
        are still to speak.

        Without `sampled`, as if no `sample` were a limit.
        """
        askable = np.zeros(len(self.pairs.blind), dtype=np.bool_)
        for name in self.measured:
            spec = self.specs[name]
            if sampled and name in self.asked:
                askable |= self.asked[name]
            elif conditional(spec) and not (sampled and self.spoken.issuperset(self._before(name))):
                askable |= self.pairs.reach(spec)[self.pairs.blind.rows]
            else:
                askable |= self._ask(
                    name, spec if sampled else spec.model_copy(update={"max_pairs": None})
                ).blind
        return askable

    def _labels_in_reach(self) -> Codes:
        """The labels of all candidates that measured judges look at: those that are judged blind if
        `control_pairs.share` is as large as can be.
        """
        return self.given[self.pairs.reached(self.specs[name] for name in self.measured)]

    def _undecided(self) -> dict[str, list[str]]:
        """The measured judges whose conditions go by judges before them that do not speak of
        labelled pairs, and which these are.
        """
        found = {}
        for name in self.measured:
            spec, before = self.specs[name], self._before(name)
            heard = [other for other in before if other in self.measured]
            last = before.index(heard[-1]) + 1 if heard else 0
            silent = [
                other for other in before[last:] if other not in heard
            ]  # what they say replaces what was heard
            if spec.disagreeing_with in before and spec.disagreeing_with not in heard:
                silent.append(spec.disagreeing_with)
            if silent and conditional(spec):
                found[name] = list(dict.fromkeys(silent))
        return found

    def _before(self, name: str) -> list[str]:
        names = list(self.specs)
        return names[: names.index(name)]

    def _draws(self, rows: Rows, stream: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        return pair_uniforms(
            self.pairs.query[rows], self.pairs.passage[rows], self.dataset, self.inputs.seed, stream
        )

    def _ask(self, name: str, spec: JudgeSpec | None = None) -> JudgeTask:
        return self.pairs.ask(
            spec or self.specs[name],
            rejudge_source_labels=self.section.rejudge_source_labels,
            heard=[before for before in self._before(name) if before in self.measured],
            draws=lambda rows: self._draws(rows, SAMPLE_STREAM),
            share=self.section.control_pairs.share,
        )

    def _run(self, name: str, code: int, built: Judge, asked: JudgeTask) -> dict[str, Any]:
        """Let one judge speak: first what it said before a kill, then the pairs that are still to
        be asked about.
        """
        pairs, journal = self.pairs, self.journals[name]
        before, given, ahead = (
            pairs.before(self.specs[name], asked),
            pairs.standing(),
            int(asked.left.sum()),
        )
        shares = VerdictShares(ahead)
        with self.inputs.progress.track(f"judge {name}", total=ahead, unit="pairs") as tracker:
            for batch in journal.batches():
                said = verdicts_of(batch)
                tracker.advance(pairs.apply(name, code, said, asked), **shares.of(said, {}))
            if journal.complete:
                return journal.counts
            shares.start()
            with journal:
                # A copy: `left` shrinks with every verdict, while the batches ahead are still to be
                # made.
                for said in built.judge(pairs.batches(asked.left.copy(), given, before)):
                    done = pairs.apply(name, code, said, asked)
                    journal.append(said)
                    tracker.advance(done, **shares.of(said, built.figures))
            counts = dict(built.counts)
            journal.finish(counts)
        return counts

    def _trust(self, blind: Mapping[str, int], left: Mapping[str, int]) -> dict[str, Any]:
        """Measure the judges, leave the figures where they can be looked at, and hold them against
        the recipe's floors.

        Args:
            blind: How many blind pairs each measured judge was asked about.
            left: The judges whose budget did not reach all of their pairs, and how many it left.
        """
        files = [
            code
            for code, spec in enumerate(self.specs.values(), start=1)
            if isinstance(spec, LabelsSpec)
        ]
        measured = Reliability(
            self.pairs, self.dataset, blind, self.undecided, files, self.by_people
        )
        trust = measured.told(self.journals, self.inputs.seed)
        places = [
            self.out / RELIABILITY_FILE,
            *([self.inputs.run / RELIABILITY_FILE] if self.inputs.run else []),
        ]
        for place in places:
            write_json(place, trust)
        enforce_floors(trust, self.section.require, look=str(places[-1]), unpaid=left)
        by, told = decisive_labels(trust)
        return {
            name: {"by": by, **_short(figures)}
            for name, figures in {**told["judges"], "all together": told["cascade"]}.items()
        }


def _short(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "pairs": told["pairs"],
        **{name: told[name]["value"] if told[name] else None for name in FIGURES},
    }
