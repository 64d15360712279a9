from recipekit.component import PhaseSpec


class Own(PhaseSpec):
    """A phase that does not plan its epochs."""

    def build(self, context): ...
