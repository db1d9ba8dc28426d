"""The pictures of a run are valid, complete within their edges, and say what they show."""

import io
import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wse.fabric.pictures.heat_map import Panel, heat_map, ticks
from wse.fabric.pictures.shading import png, shades
from wse.fabric.pictures.wavefront import FRAMES, frame_cycles, states, wavefront

SVG = "{http://www.w3.org/2000/svg}"


def words(picture: str) -> list[str]:
    return [mark.text or "" for mark in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def test_a_png_holds_the_pixels_it_was_given():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 3), dtype=np.uint8)
    assert (np.asarray(Image.open(io.BytesIO(png(pixels)))) == pixels).all()


def test_more_load_is_darker():
    light = shades(np.linspace(0, 1, 50)).astype(int).sum(axis=-1)
    assert (np.diff(light) < 0).all()


def test_a_heat_map_says_what_it_shows_and_that_it_is_simulated():
    values = np.arange(12.0).reshape(3, 4)
    panels = [Panel(f"to the {side}", values) for side in ("north", "south", "east", "west")]
    said = words(heat_map("Link load <1>", "4 x 3 PEs", "wavelets", panels, 2000))
    assert {"Link load <1>", "4 x 3 PEs · simulated", "wavelets", "0", "1,000", "2,000"} <= set(
        said
    )
    assert said.count("PE column") == said.count("PE row") == 4
    assert "to the east" in said


@pytest.mark.parametrize("shape", [(1, 512), (512, 1), (1, 1), (994, 750)])
def test_a_heat_map_of_any_mesh_lies_within_its_picture(shape):
    drawn = ElementTree.fromstring(heat_map("a", "b", "c", [Panel("", np.zeros(shape))], 0.0))
    width, height = float(drawn.get("width")), float(drawn.get("height"))
    for image in drawn.iter(f"{SVG}image"):
        assert float(image.get("x")) + float(image.get("width")) < width
        assert float(image.get("y")) + float(image.get("height")) < height


@given(st.integers(1, 2000), st.floats(2, 40))
def test_ticks_are_round_and_few(count, most):
    marks = ticks(count, most)
    assert marks[0] == 0
    assert marks[-1] < count
    assert len(marks) <= most + 1


def test_a_pe_is_ahead_then_receives_then_is_done():
    first, last = np.array([[2, -1]]), np.array([[4, -1]])
    seen = [states(first, last, cycle).tolist() for cycle in range(1, 6)]
    assert seen == [[[0, 0]], [[1, 0]], [[1, 0]], [[1, 0]], [[2, 0]]]


@given(st.integers(0, 10_000))
def test_frames_run_from_the_first_to_the_last_cycle(cycles):
    drawn = frame_cycles(cycles)
    assert drawn[0] == 0
    assert drawn[-1] == max(cycles, 1)
    assert len(drawn) <= FRAMES


def test_one_frame_of_the_wavefront_is_seen_at_a_time():
    first = np.arange(6).reshape(1, 6)
    picture = wavefront("Wavefront", "6 x 1 PEs", first, first + 10)
    frames = [g for g in ElementTree.fromstring(picture).iter(f"{SVG}g") if g.get("visibility")]
    assert [frame.get("visibility") for frame in frames].count("visible") == 1
    ends = [re.split(";", frame.find(f"{SVG}animate").get("keyTimes")) for frame in frames]
    assert all(before[-1] == after[1] for before, after in pairwise(ends))
    assert {"ahead", "receiving", "done", "after cycle 0", "6 x 1 PEs · simulated"} <= set(
        words(picture)
    )
