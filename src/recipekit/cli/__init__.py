"""The command line: one thin file per verb, over plain functions."""
