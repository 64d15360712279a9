import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from recipekit.judges.llm_judge.reply_forms import GradeForm, RelevantSetForm
from recipekit.llm.completion import TokenLogprob

UMBRELA = GradeForm((0, 1, 2, 3))
FORMS = [
    UMBRELA,
    GradeForm((0, 1)),
    GradeForm((0, 1, 2, 3), reasons=True),
    RelevantSetForm(),
    RelevantSetForm(reasons=True),
]

DRESSES = [
    "{}",
    "```json\n{}\n```",
    "Sure! Here is my answer:\n\n{}\n\nI hope this helps.",
    '<think>passage 1 {{"1": 0}} hmm [2, 3]</think>{}',
    "I weighed [1] and {{2}} first. {} Passage 3 was at 10:30.",
]


@given(data=st.data(), form=st.sampled_from(FORMS), dress=st.sampled_from(DRESSES))
@settings(max_examples=100)
def test_a_good_answer_is_read_however_it_is_dressed(data, form, dress):
    highest = 1 if isinstance(form, RelevantSetForm) else form.scale[-1]
    grades = data.draw(st.lists(st.integers(0, highest), min_size=1, max_size=25))
    reading = form.read(dress.format(form.write(grades)), len(grades))
    assert list(reading.grades) == grades
    assert reading.problem is None


@given(form=st.sampled_from(FORMS), grades=st.lists(st.integers(0, 1), min_size=1, max_size=12))
def test_a_good_answer_fits_the_schema_and_another_count_does_not(form, grades):
    answer = json.loads(form.write(grades))
    Draft202012Validator(form.schema(len(grades))).validate(answer)
    if isinstance(form, GradeForm):
        assert not Draft202012Validator(form.schema(len(grades) + 1)).is_valid(answer)


@given(
    text=st.text(st.sampled_from('{}[]":,0123 \n\\abegrlvnt'), max_size=60),
    form=st.sampled_from(FORMS),
    count=st.integers(1, 5),
)
@settings(max_examples=300)
def test_no_answer_breaks_the_reader(text, form, count):
    reading = form.read(text, count)
    assert len(reading.grades) == len(reading.reasons) == count
    assert all(grade is None or grade in form.scale for grade in reading.grades)
    assert reading.problem is not None or None not in reading.grades


def test_a_deeply_nested_answer_breaks_nothing():
    assert UMBRELA.read("[" * 100_000, 2).grades == (None, None)


@pytest.mark.parametrize(
    "text",
    [
        '{"1": 2, "2": 0,}',
        '{"1": "2", "2": "0", "note": "all done"}',
        '{"1": 2.0, "2": 0}',
        '{"passage 1": 2, "passage 2": 0}',
        '{"grades": {"1": 2, "2": 0}}',
        '{"verdicts": [{"passage": 2, "grade": 0}, {"passage": 1, "grade": 2}]}',
        '[{"id": "1", "score": 2, "reason": "x"}, {"id": "2", "score": 0}]',
        '{"1": {"grade": 2, "reason": "it\'s {so}"}, "2": {"grade": 0}}',
        "[2, 0]",
        "Passage 1: 2\nPassage 2: 0",
        "1. 2? No idea.\n[1]: 2\n[2]: grade 0",
        'An example is {"1": 0}. Mine: {"1": 2, "2": 0}',
        '{"1": 2, "2": 0}\nI compared [1, 2].',
        "```json\n[2, 0]\n```",
        "GradeForm: **[2, 0]**\nPassage 1 answers a part of it.",
        "Passage [1]: 2\nPassage [2]: 0",
        'Perhaps {"1": 0, "2": 0}?</think>{"1": 2, "2": 0}',
    ],
)
def test_answers_of_other_forms_are_understood(text):
    reading = UMBRELA.read(text, 2)
    assert reading.grades == (2, 0)
    assert reading.problem is None


@pytest.mark.parametrize(
    ("text", "grades", "problem"),
    [
        ("", (None, None), "no JSON object"),
        ("I cannot say.", (None, None), "no JSON object"),
        ('{"1": 2}', (2, None), "passage 2 has no grade"),
        ('{"1": 2, "2": 7}', (2, None), "passage 2 has no grade that is one of 0, 1, 2, 3"),
        (
            '{"1": 2, "2": 0, "3": 1}',
            (None, None),
            "there are 2 passages, and no passage 3",
        ),  # for which is the third?
        ('{"0": 2, "1": 0}', (None, None), "passage 2 has no grade"),  # counts from 0
        ("Passage 1: 2\nPassage 2: 0\nPassage 3: 1", (None, None), "no passage 3"),
        ('{"1": 2, "2": 1, "2": 3}', (2, None), "passage 2"),  # says two things
        ('{"1": 2, "2": 1', (2, None), "passage 2"),  # cut: the 1 may be the start of a 10
        ('{"1": {"reason": "so", "grade": 2}, "2": {"reason": "no', (2, None), "passage 2"),
        ("[2, 0, 1]", (None, None), "no JSON object"),  # which three?
        ('{"1": true, "2": null}', (None, None), "passage 1, 2"),
        ("I compared [1, 2] and found neither good.", (None, None), "no JSON object"),
    ],
)
def test_what_can_be_read_is_kept_and_the_rest_is_told(text, grades, problem):
    reading = UMBRELA.read(text, 2)
    assert reading.grades == grades
    assert problem in reading.problem


def test_a_passage_that_is_cited_is_not_graded_by_its_number():
    assert GradeForm((0, 1)).read('{"1": 0}\n\nPassage [1] does not answer the query.', 1).grades == (
        0,
    )
    assert GradeForm((0, 1)).read("Passage [1]: 0", 1).grades == (0,)
    assert GradeForm((0, 1)).read("Passage [1] does not answer the query.", 1).problem is not None


def test_a_reason_can_be_written_to_disk():
    reading = GradeForm((0, 1), reasons=True).read(
        '{"1": {"reason": "half an emoji: \\ud83d", "grade": 1}}', 1
    )
    assert reading.reasons == ("half an emoji: ?",)


def test_words_answer_a_yes_or_no_question():
    assert GradeForm((0, 1)).read(
        '{"1": "yes", "2": "no", "3": true, "4": "Not relevant"}', 4
    ).grades == (1, 0, 1, 0)


@pytest.mark.parametrize(
    ("text", "grades"),
    [
        ('{"relevant": [2]}', (0, 1, 0)),
        ('{"relevant": []}', (0, 0, 0)),
        ('{"Relevant_Passages": ["passage 2", "[3]"]}', (0, 1, 1)),
        ('{"relevant": [{"passage": 2}]}', (0, 1, 0)),
        ("The relevant ones: [2, 3]", (0, 1, 1)),
        ('[2] looks good, but no.</think>\n{"relevant": []}', (0, 0, 0)),
        ("Passages [1] and [3] are relevant.", (None, None, None)),
        ("Relevant: [1], [2]", (None, None, None)),
        ("None is relevant; [2] comes close.", (None, None, None)),
        ('{"relevant": [2, 9]}', (None, None, None)),
        ('{"relevant": [0, 2]}', (None, None, None)),  # counts from 0: then 2 is the third
        ('{"relevant": [2, "the last"]}', (None, None, None)),
        ('{"relevant": [2, ', (None, None, None)),
        ("none", (None, None, None)),
    ],
)
def test_sets_are_read(text, grades):
    reading = RelevantSetForm().read(text, 3)
    assert reading.grades == grades
    assert (reading.problem is not None) == (None in grades)


def test_reasons_are_kept():
    graded = GradeForm((0, 1), reasons=True).read(
        '{"1": {"reason": "names the cause", "grade": 1}, "2": {"reason": "", "grade": 0}}', 2
    )
    assert graded.reasons == ("names the cause", None)
    assert RelevantSetForm(reasons=True).read(
        '{"reason": "one names it", "relevant": [1]}', 2
    ).reasons == ("one names it", "one names it")


@pytest.mark.parametrize(
    ("form", "first", "second", "grades"),
    [
        (
            UMBRELA,
            '{"0": 3, "1": 0, "2": 0}',
            '{"1": 3, "2": 0, "3": 0}',
            (3, 0, 0),
        ),  # counted from 0
        (
            UMBRELA,
            '{"1": 0, "2": 3, "3": 0, "4": 0}',
            '{"1": 3, "2": 0, "3": 0}',
            (3, 0, 0),
        ),  # saw one too many
        (UMBRELA, '{"1": 3, "2": 0}', '{"1": 0, "2": 3, "3": 0}', (0, 3, 0)),  # passed one over
        (RelevantSetForm(), '{"relevant": [0, 2]}', '{"relevant": [1, 3]}', (1, 0, 1)),
    ],
)
def test_a_good_second_answer_stands_for_itself(form, first, second, grades):
    assert form.read(first, 3).problem is not None
    assert form.read(first, 3).corrected_by(form.read(second, 3)).grades == grades


@pytest.mark.parametrize(
    ("first", "second", "grades"),
    [
        ('{"1": 2, "3": 1}', '{"1": 3, "2": 0}', (3, 0, 1)),
        ('{"1": 2, "3": 1}', "I cannot say.", (2, None, 1)),
        (
            '{"1": 2, "3": 1}',
            '{"0": 2, "1": 0, "2": 1}',
            (2, None, 1),
        ),  # of which nothing is trusted
        ('{"0": 2, "1": 0, "2": 1}', '{"1": 3, "2": 0}', (3, 0, None)),
    ],
)
def test_the_gaps_of_a_broken_second_answer_are_filled_from_the_first(first, second, grades):
    both = UMBRELA.read(first, 3).corrected_by(UMBRELA.read(second, 3))
    assert both.grades == grades
    assert both.problem is not None


def test_a_reason_stays_with_its_grade():
    form = GradeForm((0, 1), reasons=True)
    first = form.read(
        '{"1": {"reason": "names it", "grade": 1}, "2": {"reason": "as well", "grade": 1}}', 3
    )
    both = first.corrected_by(
        form.read('{"1": {"grade": 0}, "3": {"reason": "no", "grade": 0}}', 3)
    )
    assert (both.grades, both.reasons) == ((0, 1, 0), (None, "as well", "no"))


@pytest.mark.parametrize(
    "pieces",
    [
        ['{"', "1", '":', " ", "2", ', "', "2", '": ', "0", "}"],
        ['{"1": 2', ', "2"', ": 0}"],
        list('{"1": 2, "2": 0}'),
    ],
)
def test_the_probability_of_a_grade_is_that_of_its_tokens(pieces):
    chances = [
        TokenLogprob(piece, math.log(0.9) if "2" in piece and '"2' not in piece else 0.0)
        for piece in pieces
    ]
    confidences = UMBRELA.confidences(UMBRELA.read("".join(pieces), 2), chances)
    assert confidences[1] == pytest.approx(1.0)
    assert confidences[0] == pytest.approx(0.9)


def test_a_named_list_counts_more_than_numbers_in_prose():
    assert RelevantSetForm().read('{"relevant": [2]} as in [1] and [3]', 3).grades == (0, 1, 0)


@pytest.mark.parametrize(
    "text",
    ["\n" * 20_000 + "1" + " " * 20_000 + "x", '{"' + "1" * 20_000 + '": 1}', "1" * 20_000 + ": 2"],
)
def test_an_answer_without_end_is_no_answer(text):
    assert UMBRELA.read(text, 2).grades == (None, None)
