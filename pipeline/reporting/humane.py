"""Numbers as a person reads them: three significant digits and a unit; ``None`` is a dash."""

from __future__ import annotations

MISSING = "\N{EN DASH}"
COUNTS = ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " k"), (1.0, ""))
BYTES = ((1e15, " PB"), (1e12, " TB"), (1e9, " GB"), (1e6, " MB"), (1e3, " kB"), (1.0, " B"))
JOULES = ((1e6, " MJ"), (1e3, " kJ"), (1.0, " J"), (1e-3, " mJ"), (1e-6, " µJ"), (1e-9, " nJ"))
# Below the limit in seconds: the larger and the smaller unit, each with its seconds.
SPANS = (
    (3600.0, 60, "min", 1, "s"),
    (86400.0, 3600, "h", 60, "min"),
    (float("inf"), 86400, "d", 3600, "h"),
)
YEAR = 31_557_600.0  # seconds; from two years on, hours say nothing
SECONDS = ((1.0, " s"), (1e-3, " ms"), (1e-6, " µs"))


def significant(value: float, digits: int = 3) -> str:
    """``value`` with ``digits`` significant digits, never in exponent form: 0.0123, 1230."""
    rounded = float(f"{value:.{digits}g}")
    exponent = int(f"{abs(rounded):e}".split("e")[1])
    return f"{rounded:,.{max(digits - 1 - exponent, 0)}f}"


def scaled(value: float | None, units: tuple[tuple[float, str], ...]) -> str:
    """``value`` in the largest of ``units`` (size, name; largest first) that it reaches."""
    if value is None:
        return MISSING
    if value == 0:
        return f"0{dict(units)[1.0]}"
    # Rounding comes first: 999,999 is 1.00 M, not 1,000 k.
    rounded = float(f"{value:.3g}")
    size, name = next((unit for unit in units if abs(rounded) >= unit[0]), units[-1])
    whole = size == 1.0 and float(value).is_integer()
    return (f"{value:.0f}" if whole else significant(rounded / size)) + name


def count(value: float | None) -> str:
    """A number of parameters, tokens or documents: ``1.01 M``; B is 10^9."""
    return scaled(value, COUNTS)


def size(value: float | None) -> str:
    """A number of bytes in decimal units: ``1.23 GB``."""
    return scaled(value, BYTES)


def energy(value: float | None) -> str:
    """Joules: ``4.56 mJ``."""
    return scaled(value, JOULES)


def percent(value: float | None) -> str:
    """A fraction: ``12.3 %``."""
    return MISSING if value is None else f"{significant(100 * value)} %"


def change(fraction: float) -> str:
    """How far something lies above (+) or below a reference: ``-1.25 %``."""
    return f"{100 * fraction:+.2f} %".replace("-", "\N{MINUS SIGN}")


def fixed(value: float | None, decimals: int = 3) -> str:
    """A loss or another number of which the decimals compare: ``4.560``."""
    return MISSING if value is None else f"{value:.{decimals}f}"


def duration(seconds: float | None) -> str:
    """``45.0 ms``, ``3.21 s``, ``4 min 12 s``, ``1 h 3 min``, ``2 d 5 h`` or ``12.3 years``."""
    if seconds is None or seconds < 59.5:
        return scaled(seconds, SECONDS)
    if seconds >= 2 * YEAR:
        return f"{significant(seconds / YEAR)} years"
    # Rounding comes first here too: 59 min 59.7 s is 1 h.
    span = next(span for span in SPANS if round(seconds / span[3]) * span[3] < span[0])
    _, large, large_name, small, small_name = span
    whole, rest = divmod(round(seconds / small) * small, large)
    return f"{whole} {large_name}" + (f" {rest // small} {small_name}" if rest else "")
