"""The table of what each unpublished number of the fabric matters."""

from __future__ import annotations

from dataclasses import fields

import pytest

from wse.fabric.machine import WSE3
from wse.validation import fabric_sensitivity


def test_one_number_at_a_time_changes_the_cycles_of_a_program(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fabric_sensitivity, "CASES", {"mesh_gemm": (3, 3), "chain_reduce": (9, 1)})
    some = {"vector_row_cycles": (8,), "input_queue_words": (16,)}
    monkeypatch.setattr(fabric_sensitivity, "UNPUBLISHED", some)
    fabric_sensitivity.main()
    head, slower_rows, deeper_queues = capsys.readouterr().out.splitlines()
    assert head.split() == ["simulated,", "WSE-3", "mesh_gemm", "chain_reduce"]
    assert slower_rows.startswith("vector_row_cycles 6 -> 8")
    product, chain = slower_rows.split()[-2:]
    assert float(product.rstrip("%")) > 10
    assert chain == "+0.0%"
    assert deeper_queues.split()[-1] == "+0.0%"


def test_what_is_varied_are_numbers_of_the_machine() -> None:
    assert set(fabric_sensitivity.UNPUBLISHED) <= {field.name for field in fields(WSE3)}
