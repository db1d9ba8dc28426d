"""``python -m wse.fabric``: what it prints, draws and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from wse.fabric import EAST, F32, RAMP, WEST, DType, Program
from wse.fabric.__main__ import main
from wse.fabric.errors import DeadlockError
from wse.fabric.library.experiment import Experiment
from wse.fabric.library.registry import PROGRAMS, Entry
from wse.fabric.perform import Request, perform
from wse.fabric.pictures import DEADLOCK, FILES
from wse.fabric.pictures.timeline import MOST_PES, sampled_pes
from wse.fabric.summary import summarise

SMALL = ["broadcast", "--width", "5", "--height", "4", "--size", "8"]


def test_a_run_says_what_it_took(capsys):
    main(SMALL)
    said = capsys.readouterr().out
    assert said.startswith("broadcast on 5 x 4 PEs of wse3, simulated\n")
    assert "busiest link  PE (0, 0) SOUTH: 8 wavelets" in said
    assert "million PE-cycles a second, measured" in said


def test_a_run_is_drawn(tmp_path: Path, capsys):
    main([*SMALL, "--out", str(tmp_path / "new")])
    assert {path.name for path in (tmp_path / "new").iterdir()} == set(FILES)
    for path in tmp_path.glob("new/*.svg"):
        texts = [element.text or "" for element in ElementTree.parse(path).iter()]
        assert any("5 x 4 PEs of wse3" in text and text.endswith("simulated") for text in texts)
    trace = json.loads((tmp_path / "new" / "timeline.json").read_text())
    assert trace["otherData"]["numbers"] == "simulated"
    threads = [e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "thread_name"]
    assert len(threads) == 20
    assert threads[-1] == "PE (4, 3)"


def test_the_summary_is_what_the_run_did():
    result = perform(Request("broadcast", 6, 1, "wse2", size=10))
    summary = summarise("broadcast", result)
    assert summary.cycles == result.cycles
    assert summary.link_wavelets == 5 * 10
    assert summary.busiest_link == (0, 0, "EAST")
    assert summary.busiest_link_share == 10 / result.cycles
    assert 0 < summary.utilisation <= summary.busiest_pe_share
    assert summary.to_dict()["numbers"] == "simulated"


def test_no_vector_unit_works_longer_than_the_run():
    # Here main threads and vector units are at work in almost every cycle.
    result = perform(Request("mesh_gemm", 4, 4, "wse3", size=12))
    assert 0.8 < summarise("mesh_gemm", result).utilisation < 1
    assert result.busy_cycles.max() <= result.cycles


def test_every_bar_of_the_timeline_lies_within_the_run():
    result = perform(Request("broadcast", 3, 1, "wse2"))
    assert len(result.events)
    assert (result.events[:, 2] <= result.events[:, 3]).all()
    assert result.events[:, 3].max() <= result.cycles


@pytest.mark.parametrize(("width", "height"), [(1, 1), (8, 8), (9, 8), (750, 994), (3000, 1)])
def test_few_pes_are_shown_all_and_many_evenly(width, height):
    shown = sampled_pes(width, height)
    assert len(np.unique(shown)) == len(shown) <= MOST_PES
    assert shown.max() < width * height
    if width * height <= MOST_PES:
        assert len(shown) == width * height


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["broadcst"], "broadcst: no such program; there are broadcast"),
        (["broadcast", "--wafer", "wse9"], "wafer wse9: its fabric is not known; known are wse2"),
        (["broadcast", "--dtype", "fp8"], "dtype fp8: no such type; there are fp16, fp32"),
        (["broadcast", "--width", "763"], "a mesh of 763 x 16 PEs: wse3 has 1 x 1 to 762 x 1176"),
        (["broadcast", "--width", "0"], "a mesh of 0 x 16 PEs"),
        (["broadcast", "--width", "x"], "argument --width: invalid int value: 'x'"),
        (["broadcast", "--size", "0"], "size 0"),
        (["broadcast", "--size", "90000"], "SRAM of a PE"),
        (["broadcast", "--max-cycles", "20"], "limit of 20 cycles"),
        (["mesh_gemm", "--width", "5", "--height", "4"], "PEs"),
        ([], "arguments are required: PROGRAM"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, reason, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    said = capsys.readouterr()
    assert exit_.value.code == 2
    assert said.out == ""
    assert said.err.startswith("python -m wse.fabric: ")
    assert said.err.count("\n") == 1
    assert reason in said.err


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, capsys):
    (tmp_path / "taken").write_text("")
    with pytest.raises(SystemExit) as exit_:
        main([*SMALL, "--out", str(tmp_path / "taken")])
    assert exit_.value.code == 2
    assert f"{tmp_path}/taken: file exists" in capsys.readouterr().err


def test_help_lists_the_programs(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["--help"])
    assert exit_.value.code == 0
    said = capsys.readouterr().out
    assert all(name in said for name in PROGRAMS)


def test_a_deadlock_is_drawn_where_it_waits(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setitem(PROGRAMS, "starving", Entry("waits", starving, "", 1, F32))
    with pytest.raises(SystemExit) as exit_:
        main(["starving", "--width", "3", "--height", "1", "--out", str(tmp_path)])
    assert exit_.value.code == 2
    assert "nothing moves after cycle" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [DEADLOCK]
    assert "nothing moves after cycle" in (tmp_path / DEADLOCK).read_text()
    with pytest.raises(DeadlockError) as deadlock:
        perform(Request("starving", 3, 1, "wse3"))
    assert deadlock.value.waiting.tolist() == [[0, 0, 1]]
    assert deadlock.value.wavelets.tolist() == [[0, 2, 0]]


def starving(width: int, height: int, size: int, dtype: DType) -> Experiment:
    """PE 0 sends two words that PE 1 has no task for; PE 2 waits for words that no one sends."""
    program = Program(width, height)
    unread, unsent = program.colour("unread"), program.colour("unsent")
    program.route(unread, RAMP, EAST, x=0)
    program.route(unread, WEST, RAMP, x=1)
    program.route(unsent, RAMP, RAMP, x=2)
    sender = program.code("sender", x=0)
    with sender.main():
        sender.move(unread, 1.0, length=2)
    reader = program.code("reader", x=1)
    with reader.data_task(unread, reader.register("r", F32), blocked=True):
        pass
    waiting = program.code("waiting", x=2)
    with waiting.main():
        waiting.move(waiting.array("kept", size, dtype), unsent)
    return Experiment(program, ())


def test_a_reader_that_goes_is_no_mistake(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wse.fabric", *SMALL, "--out", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 141
