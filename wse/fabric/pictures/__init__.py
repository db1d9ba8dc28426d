"""What a run of the fabric looks like: heat maps and an animation as SVG, a Chrome trace.

Everything drawn here is simulated, and says so. It is drawn with numpy and the standard library.
"""

LINK_LOAD, UTILISATION = "link_load.svg", "pe_utilisation.svg"
WAVEFRONT, TIMELINE = "wavefront.svg", "timeline.json"
FILES = (LINK_LOAD, UTILISATION, WAVEFRONT, TIMELINE)
"""What a run is drawn as; the timeline is a Chrome trace."""
DEADLOCK = "deadlock.svg"
"""What a run that ends in a deadlock is drawn as."""
