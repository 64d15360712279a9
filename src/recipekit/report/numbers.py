"""Numbers as people read them."""

from __future__ import annotations

from typing import Any

__all__ = ["duration", "figure", "p_value", "plural", "signed", "size", "usd"]


def figure(value: Any) -> str:
    """Any figure of a summary: whole numbers with separators, others with four digits that count."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return str(value)


def plural(count: int, one: str, many: str | None = None) -> str:
    """A count with its noun: `1 query`, `2,000 queries`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def signed(value: float) -> str:
    """A difference: `+0.061`; what rounds to nothing is `+0.000`, whatever its sign."""
    return f"{round(value, 3) + 0.0:+.3f}"


def p_value(p: float) -> str:
    """A p-value, with as many digits as mean something."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def duration(seconds: float | None) -> str:
    """A time: `0.4 s`, `8 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(n: float | None) -> str:
    """Bytes, in the decimal units of disks: `812 MB`."""
    if n is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit in ("B", "kB", "MB") else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def usd(amount: float | None) -> str:
    """Money: `$1,323`, `$4.20`, `$0.00034`; `-` where it is not known."""
    if amount is None:
        return "-"
    if amount >= 100:
        return f"${amount:,.0f}"
    return f"${amount:.2f}" if amount >= 0.1 or amount == 0 else f"${amount:.2g}"
