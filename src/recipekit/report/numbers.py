"""Numbers as people read them."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, Final

__all__ = [
    "duration",
    "excerpt",
    "figure",
    "index_size",
    "p_value",
    "parameter_count",
    "percent",
    "plural",
    "signed",
    "size",
    "timestamp",
    "usd",
]


SMALLEST_USD: Final = 0.000001


def figure(value: Any) -> str:
    """Any value: integers with separators, floats with four significant digits."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return str(value)


def percent(share: float) -> str:
    """A share between 0 and 1, in percent: `12.5 %`."""
    return f"{100 * share:.1f} %"


def plural(count: int, one: str, many: str | None = None) -> str:
    """A count with its noun: `1 query`, `2,000 queries`."""
    noun = one if count == 1 else many or f"{one}s"
    return f"{count:,} {noun}"


def signed(value: float) -> str:
    """A difference: `+0.061`. A value that rounds to zero is `+0.000`, also if it is negative."""
    return f"{round(value, 3) + 0.0:+.3f}"


def p_value(p: float) -> str:
    """A p-value: `p = 0.012`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def duration(seconds: float | None) -> str:
    """A time: `0.4 s`, `8 s`, `3 min 5 s`, `2 h 10 min`; `-` for None."""
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


def timestamp(iso: str) -> str:
    """A time in UTC: `2026-11-28 21:45 UTC`; any other text as it is."""
    try:
        time = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def size(n: float | None) -> str:
    """Bytes in decimal units, as disks are sold: `812 MB`; `-` for None."""
    if n is None:
        return "-"
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.1f} GB" if unit == "GB" else f"{n:.0f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def index_size(count: int | None) -> str:
    """Bytes in decimal units with three significant digits: `1.38 MB`; `-` for None."""
    if count is None:
        return "-"
    number, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while number >= 999.5 and len(units) > 1:
        number, units = number / 1000, units[1:]
    digits = max(0, 2 - len(str(int(number))) + 1) if units[0] != "B" else 0
    return f"{number:.{digits}f} {units[0]}"


def parameter_count(count: int | None) -> str:
    """Parameters of a model: `22.7 M`; `-` for None."""
    if count is None:
        return "-"
    return f"{count / 1e6:,.1f} M" if count >= 100_000 else f"{count:,}"


def usd(amount: float | None) -> str:
    """Money: `$1,323`, `$4.20`, `$0.00034`, `< $0.000001`; `-` for None."""
    if amount is None:
        return "-"
    if amount >= 100:
        return f"${amount:,.0f}"
    if amount >= 0.1 or amount == 0:
        return f"${amount:.2f}"
    if amount < SMALLEST_USD:
        return f"< ${SMALLEST_USD:.6f}"
    decimals = 1 - math.floor(math.log10(amount))  # two significant digits
    whole, _, digits = f"{amount:.{decimals}f}".partition(".")
    return f"${whole}.{digits.rstrip('0'):0<2}"


def excerpt(text: str, limit: int = 300) -> str:
    """The beginning of a text as one line, cut between words where a word ends near the limit."""
    flat = " ".join(text.split())
    if len(flat) <= limit:
        return flat
    cut = flat[:limit]
    if " " in cut[limit // 2 :]:
        cut = cut.rsplit(" ", 1)[0]
    return f"{cut} …"
