"""The runner: the plan, its execution, and the processes of the stages."""
