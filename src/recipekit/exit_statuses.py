"""The exit statuses of the command line."""

from __future__ import annotations

from typing import Final

__all__ = ["EXIT_ERROR", "EXIT_INTERRUPTED", "EXIT_PIPE", "EXIT_TERMINATED", "EXIT_USAGE"]

EXIT_ERROR: Final = 1
"""A failure."""
EXIT_USAGE: Final = 2
"""An invalid recipe or command."""
EXIT_INTERRUPTED: Final = 130
"""After Ctrl-C."""
EXIT_PIPE: Final = 141
"""The reader of the output closed it."""
EXIT_TERMINATED: Final = 143
"""After SIGTERM."""
