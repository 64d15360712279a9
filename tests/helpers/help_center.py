"""The help center of the tutorial, and a language model that knows which answers fit."""

import csv
from pathlib import Path

from helpers.markdown import ROOT
from recipekit.judges.llm_judge.reply_forms import GradeForm
from servers.fenced_oracle import fenced_oracle
from servers.openai_server import Oracle

FILE = ROOT / "docs" / "examples" / "help_center.csv"
SECOND_ANSWER = {
    "replacement for a damaged product": "refund",
    "what if the parcel was damaged?": "refund",
    "is my order sent today?": "tracking",
    "has my package been sent?": "warehouse",
    "make my account more secure": "reset",
    "buy a present for a friend": "accept",
}
"""Questions that an answer to another question also fits, named by a word in it."""


def help_center_oracle(file: Path = FILE) -> Oracle:
    """A judge with umbrela's grades: 3 for the file's pairs, 2 for second answers, 0 otherwise."""
    with file.open(newline="", encoding="utf-8") as rows:
        pairs = [(row["question"], row["answer"]) for row in csv.DictReader(rows)]
    truths = dict.fromkeys(pairs, 3)
    for question, word in SECOND_ANSWER.items():
        for _, answer in pairs:
            if word in answer.lower():
                truths[(question, answer)] = max(truths.get((question, answer), 0), 2)
    return fenced_oracle(truths, GradeForm((0, 1, 2, 3)))
