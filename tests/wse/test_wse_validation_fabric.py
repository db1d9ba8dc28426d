"""Published cycles of fabric programs are near the simulated ones, which are today's."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from wse.fabric.machine import MACHINES
from wse.validation.fabric import FITTED, main, simulate
from wse.validation.fabric_rows import HARDWARE, VENDOR_SIMULATOR, FabricRow, fabric_rows
from wse.validation.fabric_table import CYCLES_FILE, committed, fabric_comparisons, fit

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "fabric_library.md"


def test_every_row_is_within_ten_percent() -> None:
    worst = {row.name: row.error for row in fabric_comparisons() if abs(row.error) > 0.10}
    assert not worst


def test_reductions_on_wse2_are_within_two_percent_with_nothing_fitted() -> None:
    rows = [row for row in fabric_comparisons() if "WSE-2" in row.group]
    assert len(rows) == 2
    assert all(row.use == "not fitted" and abs(row.error) <= 0.02 for row in rows)


def test_the_relay_is_within_four_percent() -> None:
    rows = [row for row in fabric_comparisons() if row.name.startswith("relay")]
    assert len(rows) == 8
    assert all(abs(row.error) <= 0.04 for row in rows)


def test_hardware_and_vendor_simulator_are_told_apart() -> None:
    kinds = {(row.machine, row.kind) for row in fabric_rows()}
    assert kinds == {
        ("wse3", HARDWARE),
        ("wse2", VENDOR_SIMULATOR),
        ("wse3_simulator", VENDOR_SIMULATOR),
    }
    assert all(row.kind in made.group for row, made in _pairs())
    assert all(row.source for row in fabric_rows())


def _pairs() -> list:
    compared = {made.name: made for made in fabric_comparisons()}
    return [(row, compared[row.name]) for row in fabric_rows()]


def test_the_file_is_of_todays_machines_and_programs() -> None:
    kept = json.loads(CYCLES_FILE.read_text())
    assert kept["machines"] == {name: asdict(MACHINES[name]) for name in kept["machines"]}
    assert kept["fixed_cycles"] == {program: default for program, (_, default) in FITTED.items()}
    fixed, rows = committed()
    assert [(row.program, row.width, row.size) for row in rows] == [
        (row.program, row.width, row.size) for row in fabric_rows()
    ]
    cheap = [pair for pair in zip(fabric_rows(), rows, strict=True) if pair[0].width <= 120]
    for row, made in cheap:
        assert simulate(row, fixed.get(row.program, 0)) == made.cycles


def test_the_fit_finds_the_constant_of_a_step() -> None:
    row = FabricRow("mesh_gemm", "wse3", HARDWARE, 100, 6, 100, 50_000.0, "made up")
    rows = [(row, 40_000.0), (replace(row, cycles=60_000.0), 50_000.0)]
    assert fit(rows) == pytest.approx(100)
    assert fit([(row, 60_000.0)]) == 0


def test_the_document_shows_every_row_and_constant() -> None:
    document = DOCUMENT.read_text()
    for row in fabric_comparisons():
        left_out = "-" if row.left_out is None else f"{row.left_out:+.1%}"
        numbers = f"| {row.published:.4g} | {row.simulated:.4g} | {row.error:+.1%} | {left_out} |"
        assert f"| {row.name} {numbers} {row.use} |" in document
    for program, cycles in committed()[0].items():
        assert f"| `{program}` | {cycles} cycles |" in document
    assert "WSE-2 silicon is not validated" in document


def test_a_program_is_simulated_at_any_size(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["fabric", *words])
        return main()

    assert command("two_phase_reduce", "64", "128", "--group", "8") == 0
    expected = 2 * 128 + 6 * 7 + 7 * 13 + 15
    assert f"64 PEs, 128 on wse2: {expected} cycles, simulated" in capsys.readouterr().out
    assert command("mesh_gemm", "100", "3") == 0
    assert "cycles, 3" in capsys.readouterr().out
    for wrong in (("matmul", "8", "3"), ("mesh_gemm", "4", "3"), ("mesh_gemm", "64", "200")):
        assert command(*wrong) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
