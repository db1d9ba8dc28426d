"""Numbers as shades of blue, and arrays of shades as PNG.

One hue from light to dark: a picture printed in grey, or seen by a colour-blind reader, keeps its
order. No light at all is the lightest shade, so that an idle link looks idle.
"""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

# From no load to the heaviest, evenly spaced.
LADDER = np.array(
    [
        (244, 246, 249),
        (198, 219, 239),
        (125, 178, 218),
        (56, 129, 189),
        (16, 82, 150),
        (8, 40, 92),
    ],
    dtype=np.float64,
)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TRUE_COLOUR = 2  # PNG's type of a pixel of red, green and blue


def shades(shares: np.ndarray) -> np.ndarray:
    """Shades (..., 3) of numbers from 0 to 1, as bytes of red, green and blue."""
    steps = np.linspace(0.0, 1.0, len(LADDER))
    channels = [np.interp(shares, steps, LADDER[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """A PNG of ``pixels`` (height, width, 3), bytes of red, green and blue."""
    height, width, _ = pixels.shape
    # Each line begins with the number of its filter; 0 is none.
    lines = np.zeros((height, 1 + 3 * width), dtype=np.uint8)
    lines[:, 1:] = pixels.reshape(height, 3 * width)
    header = struct.pack(">IIBBBBB", width, height, 8, TRUE_COLOUR, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")]
    return PNG_SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def embedded(pixels: np.ndarray) -> str:
    """``pixels`` (height, width, 3) as the address of an ``<image>`` that an SVG holds itself."""
    return "data:image/png;base64," + base64.b64encode(png(pixels)).decode()
