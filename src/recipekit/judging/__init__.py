"""Judging: candidate pairs, tasks, verdicts, control pairs, agreement and reliability floors."""
