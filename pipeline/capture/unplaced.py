"""What a user is told of the operators of a graph that could not be placed; no PyTorch here."""

from __future__ import annotations

from wse.graph import Graph


def unplaced(graph: Graph) -> str | None:
    """One line on the operators that could not be placed; None if all were."""
    unknown = graph.unknown
    if not unknown:
        return None
    listed = ", ".join(f"{name} ({count})" for name, count in sorted(unknown.items()))
    total = sum(unknown.values())
    return (
        f"{total} operator{'s' if total > 1 else ''} of {len(unknown)} "
        f"kind{'s' if len(unknown) > 1 else ''} could not be placed and take no time in the plan: "
        f"{listed}"
    )
