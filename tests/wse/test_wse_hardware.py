from __future__ import annotations

import dataclasses
import math

import pytest

from wse.errors import WaferError
from wse.hardware import Wafer, check

NUMBERS = [field.name for field in dataclasses.fields(Wafer) if field.name != "name"]


def test_the_wafers_of_conf_are_consistent(wafers: dict[str, Wafer]) -> None:
    assert set(wafers) >= {"wse1", "wse2", "wse3"}
    for name, wafer in wafers.items():
        check(wafer)
        assert wafer.name == name


def test_usable_parts_of_wse2(wse2: Wafer) -> None:
    assert wse2.usable_pes == 745_500
    assert wse2.usable_sram_bytes == 745_500 * (49152 - 4176)
    assert wse2.usable_fp16_flops_per_second == pytest.approx(745_500 * 8 * 1.1e9)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("clock_hz", 1100.0),  # MHz
        ("sram_bytes", 40.0e6),  # kB
        ("sram_bytes_per_pe", 48),  # KiB
        ("sram_bytes_per_second", 20.0e9),  # GB/s where PB/s is meant
        ("fabric_bytes_per_second", 27.5e9),  # GB/s where PB/s is meant
        ("fabric_bytes_per_second", 220.0e15),  # bits
        ("io_bytes_per_second", 1200.0e9),  # bits
        ("io_bytes_per_second", 150.0),  # GB/s
        ("peak_fp16_flops_per_second", 125.0e15),  # a sparse figure
        ("peak_fp16_flops_per_second", 7.5),  # PFLOP/s
        ("cores", 850),
    ],
)
def test_a_slipped_unit_is_refused(wse2: Wafer, field: str, value: float) -> None:
    with pytest.raises(WaferError, match=r"wafer\.\w+: .*(contradicts|unit|more than)"):
        check(dataclasses.replace(wse2, **{field: value}))


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
@pytest.mark.parametrize("field", NUMBERS)
def test_what_is_no_positive_number_is_refused_by_name(
    wse2: Wafer, field: str, value: float
) -> None:
    wrong = dataclasses.replace(wse2, **{field: value})
    if field == "code_bytes_per_pe" and value == 0:
        check(wrong)
        return
    with pytest.raises(WaferError, match=rf"^wafer\.{field}: {value} is not a positive"):
        check(wrong)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sram_bytes", 60.0e9),
        ("sram_bytes_per_second", 20.0e9),
        ("fabric_bytes_per_second", 220.0e15),
        ("io_bytes_per_second", 1200.0e9),
        ("peak_fp16_flops_per_second", 125.0e15),
        ("usable_width", 800),
        ("usable_height", 1000),
        ("code_bytes_per_pe", 50_000),
        ("system_watts_idle", 30e3),
        ("mixed_fmac_per_cycle_per_pe", 5),
        ("tree_efficiency_per_level", 98.89),  # a percentage
        ("name", ""),
        ("name", "???"),
    ],
)
def test_the_message_names_the_field_and_the_value(
    wse2: Wafer, field: str, value: float | str
) -> None:
    with pytest.raises(WaferError) as refusal:
        check(dataclasses.replace(wse2, **{field: value}))
    message = str(refusal.value)
    assert message.startswith(f"wafer.{field}: ")
    assert (repr(value) if isinstance(value, str) else f"{value:g}") in message
    assert "\n" not in message


def test_code_that_fills_the_sram_is_refused(wse2: Wafer) -> None:
    with pytest.raises(WaferError, match=r"wafer\.code_bytes_per_pe"):
        check(dataclasses.replace(wse2, code_bytes_per_pe=wse2.sram_bytes_per_pe))
