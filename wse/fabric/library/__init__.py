"""Programs for the fabric: collectives, matrix products, a stencil, the weight-streaming layer.

Each function builds an :class:`~wse.fabric.library.experiment.Experiment`: a program with its
inputs in place, and the numbers that it must leave, computed with numpy.
"""
