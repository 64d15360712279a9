"""For any grades and any shape of a reply, what is read are exactly these grades, or nothing.

`RECIPEKIT_TEST_EXAMPLES=20000` makes the search longer.
"""

import json
import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipekit.judges.llm_judge.reply_forms import GradeForm, RelevantSetForm

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("RECIPEKIT_TEST_EXAMPLES", "300"))
SCALE = (0, 1, 2, 3)
UMBRELA = GradeForm(SCALE)
BINARY = GradeForm((0, 1), explain=True)
SET = RelevantSetForm()

# Shapes
# --------------------------------------------------------------------------------------------------

KEYS = ["{}", "passage {}", "Passage {}", "passage_{}"]
HOLDERS = ["grades", "Scores", "results", "judgments", "passages"]
VALUES = [int, float, str]
RIVALS = [True, "no", 3, [2, 1], {"1": 3}, "Correction: swap them.", None]
"""Values of members that the prompt does not ask for."""


@st.composite
def graded_values(draw, grades: list[int]) -> object:
    """The JSON value of a reply with these grades, in any shape that is read."""
    value = draw(st.sampled_from(VALUES))
    reason = draw(st.sampled_from([{}, {"reason": 'It says {"1": 3}.'}]))
    in_objects = draw(st.booleans())
    key, holder = draw(st.sampled_from(KEYS)), draw(st.sampled_from(HOLDERS))
    items = [{**reason, "grade": value(g)} if in_objects else value(g) for g in grades]
    mapped = {key.format(i): item for i, item in enumerate(items, start=1)}
    return draw(st.sampled_from([mapped, {holder: mapped}]))


def trailing_comma(value: object) -> str:
    text = json.dumps(value)
    return f"{text[:-1]},{text[-1]}"


WRITERS = [
    json.dumps,
    lambda value: json.dumps(value, indent=2),
    lambda value: json.dumps(value, separators=(",", ":")),
    repr,
    trailing_comma,
]
WRAPPERS = [
    "{}",
    "```json\n{}\n```",
    "```\n{}\n```",
    "`{}`",
    "Here is my evaluation:\n\n{}",
    "Sure! The grades for each passage are:\n```json\n{}\n```",
    "Passage 1 is short.\nThe other ones are off topic.\n\nGrades:\n{}",
    "Passage 2 is best.\n\n**Final answer:**\n~~~\n{}\n~~~\n",
    "Based on the query and the passages, here are the grades:\n{}",
    "<answer>{}</answer>",
    "<think>Say {{}} or [2]. Hm.</think>\n{}",
    "Passage 1 first, then the others.</think>{}",
    "[THINK]All are {{1: 3}}.[/THINK]{}",
    "<|channel|>analysis<|message|>Hm {{}}.<|end|><|start|>assistant"
    "<|channel|>final<|message|>{}<|return|>",
    "analysisWe read.assistantfinal{}",
    "**Answer:** {}",
    "{}<|im_end|>",
]
QUOTES = [
    "Passage 2 says {}",
    "Passage 1 contains this:\n{}\n",
    "An example would be {}.\n",
    "The text tries to inject:\n```json\n{}\n```\n",
    '"{}" is what the passage wants.\n',
    "The passage tells me to answer\n{}\n",
    "Passage 3:\n~~~json\n{}\n~~~\n",
    "Passage 2 wants this output. I refuse.\n\n{}",
    "The passage says:\n\nAnswer:\n{}",
    "Passage 1 has an `answer`:\n{}",
    "My draft:\n{}",
    "Not my answer:\n{}",
    "- Passage 1 gets 0\n- Passage 2 gets 3\n{}",
    "If it were obeyed, the output would be:\n{}\n",
    "Passage 1 wants:\n\n<answer>{}</answer>\n",
    "It would be a mistake to output {}.\n",
]
REMARKS = ["\nDone.", "\n\nI hope this helps!", " or so", "\n0", ".", "\n\n```\n[0, 2]\n```", "*"]
SEPARATORS = ["\n", " ", "\n\nWait, no:\n", "\nCorrected answer:\n", "</think>", ", ", "\n---\n"]


def graded(highest: int = 3):
    """Grades of up to seven passages."""
    return st.lists(st.integers(0, highest), min_size=1, max_size=7)


@st.composite
def good_replies(draw, grades: list[int], form=UMBRELA) -> str:
    """A reply that states these grades."""
    if isinstance(form, RelevantSetForm):
        numbers = [number for number, grade in enumerate(grades, start=1) if grade]
        as_text = draw(st.sampled_from([int, str, "passage {}".format]))
        reason = draw(st.sampled_from([{}, {"reason": 'It says {"relevant": [1]}.'}]))
        value: object = {**reason, "relevant": [as_text(number) for number in numbers]}
    else:
        value = draw(graded_values(grades))
    text = draw(st.sampled_from(WRITERS))(value)
    return draw(st.sampled_from(WRAPPERS)).format(text)


def assert_never_other_grades(form, reply: str, grades: list[int]) -> None:
    parsed = form.parse(reply, len(grades))
    assert all(
        read is None or read == grade for read, grade in zip(parsed.grades, grades, strict=True)
    ), (reply, parsed.grades, grades)


def assert_no_grades(form, reply: str, count: int) -> None:
    parsed = form.parse(reply, count)
    assert parsed.graded == 0, (reply, parsed.grades)
    assert parsed.problem


# Properties
# --------------------------------------------------------------------------------------------------


@given(data=st.data(), form=st.sampled_from([UMBRELA, BINARY, SET]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_good_reply_is_never_read_as_other_grades(data, form):
    grades = data.draw(graded(form.scale[-1]))
    assert_never_other_grades(form, data.draw(good_replies(grades, form)), grades)


@given(data=st.data(), grades=graded(), wrapper=st.sampled_from(WRAPPERS))
@settings(max_examples=EXAMPLES, deadline=None)
def test_valid_json_in_any_wrapper_is_read(data, grades, wrapper):
    value = data.draw(graded_values(grades))
    reply = wrapper.format(json.dumps(value, indent=data.draw(st.sampled_from([None, 2]))))
    assert list(UMBRELA.parse(reply, len(grades)).grades) == grades


@given(data=st.data(), form=st.sampled_from([UMBRELA, BINARY, SET]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_truncated_reply_is_never_read_as_other_grades(data, form):
    grades = data.draw(graded(form.scale[-1]))
    reply = data.draw(good_replies(grades, form))
    end = data.draw(st.integers(0, len(reply)))
    start = data.draw(st.sampled_from([0, 0, *range(min(end, 30))]))
    assert_never_other_grades(form, reply[:end], grades)
    assert_never_other_grades(form, reply[start:], grades)


@given(data=st.data(), form=st.sampled_from([UMBRELA, BINARY, SET]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_quoted_passage_is_never_read_as_the_answer(data, form):
    grades = data.draw(graded(form.scale[-1]))
    planted = data.draw(st.lists(st.integers(0, form.scale[-1]), min_size=len(grades)))
    planted = planted[: len(grades)]
    quote = data.draw(st.sampled_from(QUOTES)).format(form.write(planted))
    reply = data.draw(good_replies(grades, form))
    whole = data.draw(st.sampled_from([quote + reply, f"{reply}\n{quote}", quote]))
    end = data.draw(st.integers(0, len(whole)))
    if whole.startswith(quote):
        assert_never_other_grades(form, whole[:end], grades)
    assert_never_other_grades(form, whole, grades)
    assert_no_grades(form, quote, len(grades))


@given(data=st.data(), form=st.sampled_from([UMBRELA, BINARY, SET]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_two_answers_are_not_read_unless_the_first_is_reasoning(data, form):
    grades = data.draw(graded(form.scale[-1]))
    other = data.draw(st.permutations(grades))
    first, second = form.write(other), form.write(grades)
    separator = data.draw(st.sampled_from(SEPARATORS))
    reply = f"{first}{separator}{second}"
    if separator == "</think>":
        assert list(form.parse(reply, len(grades)).grades) == grades
    else:
        assert_no_grades(form, reply, len(grades))


@given(data=st.data(), grades=graded())
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_list_next_to_an_object_may_be_another_answer(data, grades):
    pairs = [[number, grade] for number, grade in enumerate(grades, start=1)]
    value = data.draw(st.sampled_from([grades, pairs, list(map(str, grades))]))
    write = data.draw(st.sampled_from([*WRITERS, lambda value: "\n".join(map(json.dumps, value))]))
    between = data.draw(st.sampled_from(["\n", "\n\n", "\n---\n", "\n```\n", "\nAnswer:\n"]))
    listed, answer = write(value), UMBRELA.write(data.draw(st.permutations(grades)))
    assert_no_grades(UMBRELA, f"{answer}{between}{listed}", len(grades))


@given(data=st.data(), form=st.sampled_from([UMBRELA, BINARY, SET]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_reply_that_goes_on_after_its_json_is_not_read(data, form):
    """The text may take the answer back, in any words."""
    grades = data.draw(graded(form.scale[-1]))
    reply = data.draw(good_replies(grades, form)) + data.draw(st.sampled_from(REMARKS))
    assert_no_grades(form, reply, len(grades))


@given(data=st.data(), form=st.sampled_from([UMBRELA, BINARY, SET]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_of_any_pieces_only_a_single_object_at_the_end_is_read(data, form):
    answers = st.lists(st.integers(0, form.scale[-1]), min_size=3, max_size=3).map(tuple)
    texts = [*WRAPPERS, *QUOTES, *SEPARATORS, *REMARKS]
    pieces = st.sampled_from([part for text in texts for part in re.split(r"\{+.*?\}+", text)])
    drawn = data.draw(st.lists(answers | pieces, max_size=8))
    reply = "".join(piece if isinstance(piece, str) else form.write(piece) for piece in drawn)
    parsed = form.parse(reply, 3)
    if parsed.graded:
        *_, last = [piece for piece in drawn if isinstance(piece, tuple)]
        assert parsed.grades == last, reply
        answer = form.write(last)
        before, _, after = reply.rpartition(answer)
        assert not re.search(r"\w", re.sub(r"<.*?>", "", after)), reply
        ended = re.split(r"</think>|\[/THINK\]|final<\|message\|>|assistantfinal", before)[-1]
        assert not re.search(r"[{}\[\]]", ended), reply


@given(data=st.data(), grades=graded())
@settings(max_examples=EXAMPLES, deadline=None)
def test_members_that_nobody_requested_are_not_read(data, grades):
    mapped = {str(number): grade for number, grade in enumerate(grades, start=1)}
    names = [*HOLDERS, "final_grades", "relevant", "draft", "confidence", "note", "reason"]
    one, two = data.draw(st.lists(st.sampled_from(names), min_size=2, max_size=2, unique=True))
    rival = data.draw(st.sampled_from([*RIVALS, mapped]))
    values = [
        {one: mapped, two: rival},
        {two: rival, one: mapped},
        {**mapped, two: rival},
        {two: rival, **mapped},
        {"draft": mapped},
        {"result": {"grades": mapped}},
        [mapped],
        [{"passage": int(number), "grade": grade} for number, grade in mapped.items()],
    ]
    for value in values:
        assert_no_grades(UMBRELA, json.dumps(value), len(grades))
    relevant = {"relevant": [number for number, grade in enumerate(grades, start=1) if grade]}
    if two not in ("relevant", "reason"):
        for value in ({**relevant, two: rival}, {two: rival, **relevant}, {two: relevant, "a": 1}):
            assert_no_grades(SET, json.dumps(value), len(grades))


@given(data=st.data(), grades=graded())
@settings(max_examples=EXAMPLES, deadline=None)
def test_contradicting_flags_and_duplicates_are_not_read(data, grades):
    flag = data.draw(st.sampled_from(["relevant", "score", "final_grade", "verdict", "passage"]))
    rival = data.draw(st.sampled_from(RIVALS))
    flagged = {str(i): {"grade": g, flag: rival} for i, g in enumerate(grades, start=1)}
    assert_no_grades(UMBRELA, json.dumps(flagged), len(grades))
    again = data.draw(st.integers(1, len(grades)))
    key = data.draw(st.sampled_from(KEYS))
    members = [f'"{number}": {grade}' for number, grade in enumerate(grades, start=1)]
    members.insert(data.draw(st.integers(0, len(grades))), f'"{key.format(again)}": 3')
    text = "{" + ", ".join(members) + "}"
    for reply in (text, text.replace("}", ",}"), text.replace('"', "'")):
        assert_no_grades(UMBRELA, reply, len(grades))


@given(data=st.data(), grades=graded(), offset=st.sampled_from([-1, 1, 2, 10]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_numbers_of_passages_that_do_not_exist_are_not_read(data, grades, offset):
    key = data.draw(st.sampled_from(KEYS))
    shifted = {key.format(i + offset): grade for i, grade in enumerate(grades, start=1)}
    assert_no_grades(UMBRELA, json.dumps(shifted), len(grades))


@given(data=st.data(), grades=graded(), factor=st.sampled_from([2, 10, 0.25]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_grades_on_another_scale_are_not_read(data, grades, factor):
    """The last grade shows that the scale is another, so that a 1 or 2 before it means less."""
    value = data.draw(st.sampled_from([float, str]))
    scaled = [value(grade * factor) for grade in [*grades, 3]]
    mapped = {str(number): grade for number, grade in enumerate(scaled, start=1)}
    listed = {number: {"grade": grade} for number, grade in mapped.items()}
    for reply in (mapped, {"scores": mapped}, {"results": listed}):
        assert_no_grades(UMBRELA, json.dumps(reply), len(scaled))


@pytest.mark.parametrize(
    "opened",
    [
        "<think>",
        "<thinking>",
        "<reasoning>",
        "[THINK]",
        "<|channel|>analysis<|message|>",
        "<|think|>\n",
        "<inner_monologue>\n",
        "<|channel>thought\n",
        "Thought:\n",
    ],
)
@given(data=st.data(), grades=graded())
@settings(max_examples=max(20, EXAMPLES // 10), deadline=None)
def test_unfinished_reasoning_is_not_read(opened, data, grades):
    reply = opened + data.draw(st.sampled_from(["", "Hm.\n", "Say:\n"])) + UMBRELA.write(grades)
    assert_no_grades(UMBRELA, reply, len(grades))


@given(
    data=st.data(),
    noise=st.text(st.sampled_from('{}[]":,0123 \n\\`<>/think.'), max_size=8),
    form=st.sampled_from([UMBRELA, SET]),
)
@settings(max_examples=EXAMPLES, deadline=None)
def test_noise_around_a_reply_is_never_read_as_other_grades(data, noise, form):
    grades = data.draw(graded(form.scale[-1]))
    reply = form.write(grades)
    for text in (noise + reply, reply + noise):
        assert_never_other_grades(form, text, grades)
