"""Predicted against published, row by row, with the error of each group.

    python -m wse.validation

*Published* numbers are those of the sources in ``wse/validation/*.csv``, *simulated* ones are the
model's. Nothing is measured here.
"""

from __future__ import annotations

from wse.validation.fabric_table import FABRIC_UNEXPLAINED, fabric_comparisons
from wse.validation.table import UNEXPLAINED, gpu_comparisons, lines, wafer_comparisons


def main() -> None:
    """Print every row."""
    print("\n".join(lines([*wafer_comparisons(), *gpu_comparisons(), *fabric_comparisons()])))
    print("\nUnexplained:")
    for sentence in (*UNEXPLAINED, *FABRIC_UNEXPLAINED):
        print(f"- {sentence}")


if __name__ == "__main__":
    main()
