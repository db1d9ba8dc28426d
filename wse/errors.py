"""The root of the project's errors, and those of the simulator.

Every error that a user can cause derives from :class:`OnewaferError`; its message is one
sentence that names the thing, the offending value and what would be right, so that a
command line can print it as it is.
"""


class OnewaferError(Exception):
    """An error whose message is meant for the user; never a defect of this project."""


class WaferError(OnewaferError):
    """A description of a wafer that is incomplete or contradicts itself."""


class PlanError(OnewaferError):
    """A plan was asked for that cannot be computed from what was given."""
