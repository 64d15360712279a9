"""The runner: what has to be done (plan), doing it (execute), and starting the processes that do it
(launch).
"""
