"""A run of the fabric in a few numbers, all of them simulated but its speed, which is measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from wse.fabric.run import Result
from wse.fabric.tables import PORT_NAMES, PORTS


@dataclass(frozen=True)
class Summary:
    """What a run took. Shares are of the run's cycles.

    ``utilisation`` is the mean, over all PEs with a code, of the share in which a PE's vector unit
    works; of several busiest PEs or links the first is given, row by row.
    """

    program: str
    machine: str
    width: int
    height: int
    cycles: int
    utilisation: float
    busiest_pe: tuple[int, int]
    busiest_pe_share: float
    busiest_link: tuple[int, int, str]
    busiest_link_wavelets: int
    busiest_link_share: float
    link_wavelets: int
    simulation_seconds: float
    pe_cycles_per_second: float

    def to_dict(self) -> dict[str, Any]:
        """As ``fabric.json`` holds it, with where the numbers come from."""
        return {**asdict(self), "numbers": "simulated"}

    def lines(self) -> list[str]:
        """For the screen."""
        x, y, port = self.busiest_link
        link = (
            f"PE ({x}, {y}) {port}: {self.busiest_link_wavelets:,} wavelets, in "
            f"{self.busiest_link_share:.1%} of the cycles"
        )
        return [
            f"{self.program} on {self.width} x {self.height} PEs of {self.machine}, simulated",
            f"  cycles        {self.cycles:,}",
            f"  utilisation   {self.utilisation:.1%} of the cycles, busiest PE {self.busiest_pe} "
            f"{self.busiest_pe_share:.1%} (vector units at work)",
            f"  busiest link  {link if self.link_wavelets else 'none, no wavelet left its PE'}",
            f"  speed         {self.pe_cycles_per_second / 1e6:,.2f} million PE-cycles a second, "
            "measured on this machine",
        ]


def summarise(program: str, result: Result) -> Summary:
    """The summary of ``result``, a run of the program of that name."""
    links = result.link_wavelets[:, :, : PORTS - 1]
    height, width = result.busy_cycles.shape
    cycles = max(result.cycles, 1)
    y, x, port = (int(i) for i in np.unravel_index(np.argmax(links), links.shape))
    pe_y, pe_x = (int(i) for i in np.unravel_index(np.argmax(result.busy_cycles), (height, width)))
    most_busy, most_wavelets = int(result.busy_cycles[pe_y, pe_x]), int(links[y, x, port])
    return Summary(
        program=program,
        machine=result.machine.name,
        width=width,
        height=height,
        cycles=result.cycles,
        utilisation=result.utilisation,
        busiest_pe=(pe_x, pe_y),
        busiest_pe_share=most_busy / cycles,
        busiest_link=(x, y, PORT_NAMES[port]),
        busiest_link_wavelets=most_wavelets,
        busiest_link_share=most_wavelets / cycles,
        link_wavelets=int(links.sum()),
        simulation_seconds=result.wall_seconds,
        pe_cycles_per_second=result.pe_cycles_per_second,
    )
