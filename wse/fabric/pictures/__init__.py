"""What a run of the fabric looks like: heat maps and an animation as SVG, a Chrome trace.

Everything drawn here is simulated, and says so. It is drawn with numpy and the standard library.
"""
