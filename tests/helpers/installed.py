"""What is installed next to recipekit."""

from importlib.metadata import PackageNotFoundError, distribution


def is_installed(name: str) -> bool:
    """Whether a distribution is installed, without importing anything of it.

    Looking for the module `pip` would not do: setuptools then takes it that pip is running, and
    stops replacing distutils in this process, which breaks compilers used later.
    """
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
