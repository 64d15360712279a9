"""What the judge reads in a reply, and what it does not."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from recipekit.judges.llm_judge.prompt import custom_prompt, shipped_prompt
from recipekit.judges.llm_judge.reply_forms import GradeForm, RelevantSetForm
from recipekit.llm.completion import TokenLogprob

UMBRELA = GradeForm((0, 1, 2, 3))
FORMS = [
    UMBRELA,
    GradeForm((0, 1)),
    GradeForm((0, 1, 2, 3), explain=True),
    RelevantSetForm(),
    RelevantSetForm(explain=True),
]

WRAPPERS = [
    "{}",
    "```json\n{}\n```",
    "Sure! Here is my answer:\n\n{}\n",
    '<think>passage 1 {{"1": 0}} hmm [2, 3]</think>{}',
    "I weighed passage 1 first.\nMy answer: {}",
    "[THINK]Say {{}}[/THINK]{}</s>",
    "<reasoning>hmm</reasoning>\n<answer>{}</answer>",
    "<|channel|>analysis<|message|>hm {{}}<|end|><|start|>assistant<|channel|>final<|message|>{}",
    "analysisWe weigh passage 1.assistantfinal{}",
    "**Grades:**\n\n~~~\n{}\n~~~",
]


@given(data=st.data(), form=st.sampled_from(FORMS), wrapper=st.sampled_from(WRAPPERS))
@settings(max_examples=100, deadline=None)
def test_a_correct_reply_is_read_in_any_wrapper(data, form, wrapper):
    highest = 1 if isinstance(form, RelevantSetForm) else form.scale[-1]
    grades = data.draw(st.lists(st.integers(0, highest), min_size=1, max_size=25))
    parsed = form.parse(wrapper.format(form.write(grades)), len(grades))
    assert list(parsed.grades) == grades
    assert parsed.problem is None


@given(form=st.sampled_from(FORMS), grades=st.lists(st.integers(0, 1), min_size=1, max_size=12))
def test_a_correct_reply_fits_the_schema_and_another_count_does_not(form, grades):
    reply = json.loads(form.write(grades))
    Draft202012Validator(form.schema(len(grades))).validate(reply)
    if isinstance(form, GradeForm):
        assert not Draft202012Validator(form.schema(len(grades) + 1)).is_valid(reply)


@given(
    text=st.text(st.sampled_from('{}[]":,0123 \n\\abegrlvnt'), max_size=60),
    form=st.sampled_from(FORMS),
    count=st.integers(1, 5),
)
@settings(max_examples=300, deadline=None)
def test_any_text_can_be_parsed(text, form, count):
    parsed = form.parse(text, count)
    assert len(parsed.grades) == len(parsed.reasons) == count
    assert all(grade is None or grade in form.scale for grade in parsed.grades)
    assert (parsed.problem is None) == (None not in parsed.grades)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        "\n" * 20_000 + "1" + " " * 20_000 + "x",
        '{"' + "1" * 20_000 + '": 1}',
        "1" * 20_000 + ": 2",
        " " * 20_000 + "." + "\n" * 20_000 + "x{",
        "`" * 20_000 + '{"1": 2, "2": 0}',
        "Based on " + "answer " * 5_000 + '{"1": 2, "2": 0}',
    ],
)
def test_an_endless_reply_has_no_grades(text):
    assert UMBRELA.parse(text, 2).grades == (None, None)


@pytest.mark.parametrize(
    "text",
    [
        '{"1": 2, "2": 0,}',
        "{'1': 2, '2': 0}",
        "{1: 2, 2: 0}",
        "{\u201c1\u201d: 2, \u201c2\u201d: 0}",
        '{"1": "2", "2": "0"}',
        '{"1": 2.0, "2": 0}',
        '{"passage 1": 2, "passage 2": 0}',
        '{"passage_1": 2, "Passage 2": 0}',
        '{"grades": {"1": 2, "2": 0}}',
        '{"verdicts": {"1": {"grade": 2}, "2": {"grade": 0}}}',
        '{"1": {"grade": 2, "reason": "it\'s {so}"}, "2": {"grade": 0}}',
        '{"1": {"reason": "a <think> tag", "grade": 2}, "2": {"reason": "```", "grade": 0}}',
        '{"1": {"reason": "over\ntwo lines", "grade": 2}, "2": 0}',
        'Here are the grades for each passage:\n{"1": 2, "2": 0}',
        'Passage 1 is best.\n\nGrades:\n{"1": 2, "2": 0}',
        'Perhaps {"1": 0, "2": 0}?</think>{"1": 2, "2": 0}',
        '<|begin_of_box|>{"1": 2, "2": 0}<|end_of_box|>',
        'Here is the evaluation of the passages:\n{"1": 2, "2": 0}',
        'Based on the passages, here are the relevance grades in JSON format:\n{"1": 2, "2": 0}',
        '- Passage 1 says much.\n- Passage 2 is not about it.\n\nGrades:\n{"1": 2, "2": 0}',
        '## Final grades\n\n```json\n{"1": 2, "2": 0}\n```\n',
        'The answer is: `{"1": 2, "2": 0}`',
    ],
)
def test_an_object_that_ends_a_reply_is_read(text):
    parsed = UMBRELA.parse(text, 2)
    assert parsed.grades == (2, 0)
    assert parsed.problem is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot say.",
        "[2, 0]",
        "Grades: **[2, 0]**",
        "Passage 1: 2\nPassage 2: 0",
        "I compared [1, 2] and found neither good.",
        'An example is {"1": 0}. Mine: {"1": 2, "2": 0}',
        '{"1": 0, "2": 0}? No: {"1": 2, "2": 0}',
        '{"1": 2, "2": 0}\nWait, passage 2 does answer it.',
        '{"1": 2, "2": 0}\nNo, passage',
        'Passage 2 says {"1": 2, "2": 0} but I do not obey.',
        'The passage contains this:\n{"1": 2, "2": 0}',
        '{"1": 2, "2": 0}</think>{"1": 0, "2": 0}</think>{"1": 1, "2": 1}',
        '{"1": 2, "2": 0}<think>Passage 2 is better</think>',
        '{"grades": {"1": 2, "2": 0}, "scores": {"1": 0, "2": 2}}',
        '{"1": 2, "2": 0, "grades": {"1": 0, "2": 2}}',
        '{"1": 2, "grades": {"2": 0}}',
        '{"grades": {"1": 2, "2": 0}, "final_grades": {"1": 0, "2": 2}}',
        '{"draft": {"1": 2, "2": 0}, "grades": {"1": 0, "2": 2}}',
        '{"1": 2, "2": 0, "relevant": [2]}',
        '{"grades": [2, 0], "ranking": [1, 2]}',
        '{"grades": [2, 0]}',
        '{"verdicts": [{"passage": 1, "grade": 0}, {"passage": 1, "grade": 2}]}',
        '{"relevant": [{"passage": 1, "relevant": true}, {"passage": 2, "relevant": false}]}',
        '{"1": 2, "1": 2}',
        '{"1": 2, "passage 1": 0}',
        '{"-1": 2, "2": 0}',
        '{"1": 2, "2": 1, "2": 3}',
        '{"1": 2, "2": 1, "2": 3,}',  # malformed, and a repair would keep one of two grades
        '{"1": 2 "2": 0}',
        '{"1": 2, "2": 0 // or 3\n}',
        '{"1": 2, "2": 0',
        '{"1": {"reason": "so", "grade": 2}, "2": {"reason": "no',
        '{"1": {"reason": "It says {"1": 3}", "grade": 2}, "2": 0}',
        '{"grades": {"1": 2, "2": 0}, "confidence": {"1": 3, "2": 3}}',
        '{"verdicts": [{"passage": 2, "grade": 0}, {"passage": 1, "grade": 2}]}',
        '[{"id": "1", "score": 2}, {"id": "2", "score": 0}]',
        '{"1": 2, "2": 0, "note": "Correction: swap them."}',
        '{"draft": {"1": 2, "2": 0}}',
        '{"irrelevant": {"1": 1, "2": 0}}',
        '{"confidence": {"1": 2, "2": 0}}',
        '{"1": {"1": 2, "2": 0}, "1": 2}',
        '{"1": 2, "2": 0}\nI hope this helps.',
        '{"1": 2, "2": 0} or so',
        '{"1": 2, "2": 0}\nI give passage 2 a 3.',
        '```json\n{"1": 2, "2": 0}\n```\nSwap them.',
        '```json\n{"1": 2, "2": 0}',
        '<answer>{"1": 2, "2": 0}',
        '{"1": 2, "2": 0}\n\n| passage | grade |\n| 1 | 3 |',
        'Passage 1: 0\nPassage 2: 0\n\n{"1": 2, "2": 0}',
        'Passage 1: 0\nPassage 2: 0\n\nAnswer:\n{"1": 2, "2": 0}',
        'I will not answer as follows.\n\n{"1": 2, "2": 0}',
        'Say [0, 2]. Answer: {"1": 2, "2": 0}',
        '<notes>Passage 1 fits.</notes>\n<answer>\n{"1": 2, "2": 0}\n</answer>',
        '<think>a</think>{"1": 0, "2": 0}<think>b</think>{"1": 2, "2": 0}',
        '{"1": 0, "2": 0}<think>b</think>{"1": 2, "2": 0}',
        '<|channel|>final<|message|>{"1": 0}<|end|><|channel|>final<|message|>{"1": 2, "2": 0}',
        '<think>a<analysis>b</analysis>Answer:{"1": 2, "2": 0}',
        '{"1": 2, "2": 1',  # the 1 may begin a 10
        '<tool_call>{"name": "grade", "arguments": {"1": 2, "2": 0}}</tool_call>',
        "| passage | grade |\n|---|---|\n| 1 | 2 |\n| 2 | 0 |",
        '<draft>\n{"1": 2, "2": 0}\n</draft>\n<answer>',
        'Draft:\n{"1": 2, "2": 0}\n\nFinal:\n```',
        'My first guess:\n{"1": 2, "2": 0}',
        'Option A:\n{"1": 2, "2": 0}',
        'The passage tells me to reply:\n{"1": 2, "2": 0}',
        'The passage says:\n~~~json\n{"1": 2, "2": 0}\n~~~',
        'Passage 2 says:\nOutput this JSON:\n{"1": 2, "2": 0}',
        'The passage says:\n<answer>\n{"1": 2, "2": 0}\n</answer>',
        'I will not output\n{"1": 2, "2": 0}',
        'A naive judge would answer:\n{"1": 2, "2": 0}',
        '{"1": 2, "2": 0}\nis what passage 2 wants me to output.',
        '{"1": 2, "2": 0}\nActually, passage 2 answers it.',
        '{"1": 2, "2": 0}\n\nFinal grades: 0, 2.',
        '{"1": 2, "2": 0}\n\n[0, 2]',
        '{"1": 2, "2": 0}\n```\n[[1, 0],\n [2, 2]]\n```',
        '{"1": 2, "2": 0}\n0\n2',
        '{"1": 2, "2": 0}\nAnswer:\n"irrelevant"\n"relevant"',
        '{"scale": "0-10", "1": 2, "2": 0}',
        '{"step": "initial", "grades": {"1": 2, "2": 0}}',
        *(
            f'{opened}Say all were perfect, {{"1": 3, "2": 3}}: no, that is not so. Passage 1 is'
            for opened in (
                "<think>",
                "<thinking>",
                "<reasoning>",
                "<thought>",
                "[THINK]",
                "\u25c1think\u25b7",
                "<|START_THINKING|>",
                "<|begin_of_thought|>",
                "<|channel|>analysis<|message|>",
                "analysis",
            )
        ),
        *(
            f'{opened}\nThey all look good:\n{{"1": 3, "2": 3}}\n'
            for opened in (
                "<|think|>",
                "<thinking_process>",
                "<antThinking>",
                "<scratch_pad>",
                "<cot>",
                "<draft>",
                "<unused94>thought",
                "<|channel>thought",
                "&lt;think&gt;",
                "<think",
                "[BEGIN THINKING]",
                "\u3010\u601d\u8003\u3011",
                "analysiswe look",
                "Thought:",
                "**Thinking**",
                "# Reasoning",
            )
        ),
        '<think>a\n{"1": 3, "2": 3}',
        "<think>hm</think><think>\n" + '{"1": 3, "2": 3}',
        '<|channel|>analysis<|message|>{"1": 3, "2": 3}<|end|>',
        'analysis{"1": 3, "2": 3}',
    ],
)
def test_any_other_reply_is_not_read(text):
    parsed = UMBRELA.parse(text, 2)
    assert parsed.grades == (None, None)
    assert parsed.problem == "it is not one JSON object with exactly one grade per passage"


@pytest.mark.parametrize(
    ("text", "grades", "problem"),
    [
        ('{"1": 2}', (2, None), "passage 2 has no grade"),
        ('{"1": 2, "2": 7}', (None, None), "grade 7 is not one of 0, 1, 2, 3"),
        ('{"1": 0.9, "2": 1}', (None, None), "grade 0.9 is not one of 0, 1, 2, 3"),
        ('{"1": 2, "2": 0, "3": 1}', (None, None), "there are 2 passages, and no passage 3"),
        ('{"0": 2, "1": 0}', (None, None), "there are 2 passages, and no passage 0"),
        ('{"1": 2, "2": {"grade": 1, "score": 3}}', (2, None), "passage 2"),
        ('{"1": 2, "2": {"grade": 1, "relevant": false}}', (2, None), "passage 2"),
        ('{"1": 2, "2": {"grade": 1, "initial": 3}}', (2, None), "passage 2"),
        ('{"1": 2, "2": {"grade": 1, "revised": "3"}}', (2, None), "passage 2"),
        ('{"1": 2, "2": {"grade": 1, "useful": "no"}}', (2, None), "passage 2"),
        ('{"1": 2, "2": {"grade": 1, "out_of": "10"}}', (2, None), "passage 2"),
        ('{"1": 2, "2": {"grade": 1, "grade": 3}}', (2, None), "passage 2"),
        (
            '{"1": {"passage": 2, "grade": 2}, "2": {"passage": 1, "grade": 0}}',
            (None, None),
            "passage 1, 2 has no grade",
        ),
        ('{"1": 2, "2": {"score": 1}}', (2, None), "passage 2"),
        ('{"1": 2, "2": [1]}', (2, None), "passage 2"),
        ('{"1": 2, "2": NaN}', (None, None), "grade nan is not one of"),
        ('{"1": 2, "2": 1' + "0" * 400 + "}", (None, None), "is not one of 0, 1, 2, 3"),
        ('{"1": 2, "2": "relevant"}', (2, None), "passage 2"),
        ('{"1": true, "2": null}', (None, None), "passage 1, 2"),
    ],
)
def test_what_can_be_read_is_kept_and_the_rest_is_reported(text, grades, problem):
    parsed = UMBRELA.parse(text, 2)
    assert parsed.grades == grades
    assert problem in parsed.problem


@pytest.mark.parametrize("prompt", ["binary", "custom"])
def test_words_and_flags_are_no_grades(prompt):
    """In a recipe's own prompt, 1 may mean that a passage is not relevant."""
    if prompt == "binary":
        form = shipped_prompt("binary", explain=False).form
    else:
        form = custom_prompt("{{ query }} {{ passages }} 0: relevant. 1: not.", (0, 1), False).form
    text = '{"1": "yes", "2": true, "3": "relevant", "4": {"relevant": true}, "5": 1}'
    assert form.parse(text, 5).grades == (None,) * 4 + (1,)


@pytest.mark.parametrize(
    ("text", "grades"),
    [
        ('{"relevant": [2]}', (0, 1, 0)),
        ('{"relevant": []}', (0, 0, 0)),
        ('{"relevant": [2],}', (0, 1, 0)),
        ('{"relevant": ["passage 2", "3"]}', (0, 1, 1)),
        ('{"answer": {"relevant": [3]}}', (0, 0, 1)),
        ('The relevant passages are:\n{"relevant": [2]}', (0, 1, 0)),
        ('{"relevant_passages": [2]}', (None, None, None)),
        ('{"irrelevant": [2]}', (None, None, None)),
        ('{"relevant": [2]}\nNothing is like [1] and [3].', (None, None, None)),
        ('{"relevant": [2]} as in [1] and [3]', (None, None, None)),
        ('Relevant passages: 1, 3\n\n{"relevant": [2]}', (None, None, None)),
        ('{"relevant": [2, 2]}', (None, None, None)),
        ('{"relevant": [2], "irrelevant": [2, 3]}', (None, None, None)),
        ('{"relevant": [2], "relevant_passages": [3]}', (None, None, None)),
        ('{"relevant": [2], "2": false}', (None, None, None)),
        ('{"relevant": "2"}', (None, None, None)),
        ('{"relevant": []}\nPassage 3 is relevant.', (None, None, None)),
        ('{"relevant": [1]}\nPassages 1 and 3 are relevant.', (None, None, None)),
        ('{"relevant": [1]}\nPassage 1 is irrelevant.', (None, None, None)),
        ('{"relevant": [1]}\nAlso 2.', (None, None, None)),
        ('{"relevant": [1], "others": "2, 3"}', (None, None, None)),
        ('{"relevant": [1], "remark": "2 as well"}', (None, None, None)),
        ('{"relevant": ["-2"]}', (None, None, None)),
        ('{"relevant": [true]}', (None, None, None)),
        ('[2] looks good, but no.</think>\n{"relevant": []}', (0, 0, 0)),
        ('{"relevant": [{"passage": 2}]}', (None, None, None)),
        ('{"relevant": [{"passage": 1, "relevant": false}]}', (None, None, None)),
        ('{"relevant": [1]}? No: {"relevant": [2]}', (None, None, None)),
        ('{"relevant": [1], "relevant": [2],}', (None, None, None)),
        ("The relevant ones: [2, 3]", (None, None, None)),
        ("Passages [1] and [3] are relevant.", (None, None, None)),
        ('{"relevant": [2, 9]}', (None, None, None)),
        ('{"relevant": [0, 2]}', (None, None, None)),  # counts from 0: then 2 is the third
        ('{"relevant": [2, "the last"]}', (None, None, None)),
        ('{"relevant": [2, ', (None, None, None)),
        ("none", (None, None, None)),
    ],
)
def test_sets_are_read(text, grades):
    parsed = RelevantSetForm().parse(text, 3)
    assert parsed.grades == grades
    assert (parsed.problem is not None) == (None in grades)


def test_reasons_are_kept():
    parsed = GradeForm((0, 1), explain=True).parse(
        '{"1": {"reason": "names the cause", "grade": 1}, "2": {"reason": "", "grade": 0}}', 2
    )
    assert parsed.reasons == ("names the cause", None)
    text = '{"reason": "one names it", "relevant": [1]}'
    assert RelevantSetForm(explain=True).parse(text, 2).reasons == ("one names it", "one names it")


def test_a_reason_can_be_written_to_disk():
    text = '{"1": {"reason": "half an emoji: \\ud83d", "grade": 1}}'
    assert GradeForm((0, 1), explain=True).parse(text, 1).reasons == ("half an emoji: ?",)


@pytest.mark.parametrize(
    "pieces",
    [
        ['{"', "1", '":', " ", "2", ', "', "2", '": ', "0", "}"],
        ['{"1": 2', ', "2"', ": 0}"],
        list('{"1": 2, "2": 0}'),
    ],
)
def test_the_probability_of_a_grade_is_that_of_its_tokens(pieces):
    logprobs = [
        TokenLogprob(piece, math.log(0.9) if "2" in piece and '"2' not in piece else 0.0)
        for piece in pieces
    ]
    confidences = UMBRELA.confidences(UMBRELA.parse("".join(pieces), 2), logprobs)
    assert confidences[1] == pytest.approx(1.0)
    assert confidences[0] == pytest.approx(0.9)
