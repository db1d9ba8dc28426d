"""The pipeline's errors, each with a message that can be shown to a user as it is."""

from wse.errors import OnewaferError


class ConfigError(OnewaferError):
    """A configuration key, value or file is wrong."""


class CorpusError(OnewaferError):
    """A text source is missing, empty, too short or not text."""


class TokenizerError(OnewaferError):
    """A tokenizer cannot be trained, read, or does not match a model."""


class ShardError(OnewaferError):
    """A token shard or its manifest is missing, truncated or altered."""


class ModelError(OnewaferError):
    """A model directory cannot be read, or describes a model that is not supported."""


class CheckpointError(OnewaferError):
    """A training checkpoint is damaged or belongs to another configuration."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint's files are missing, cut or altered; an older one may be whole."""


class TrainingError(OnewaferError):
    """Training cannot start or cannot go on, such as a loss that is not finite."""


class BudgetError(TrainingError):
    """A memory budget is smaller than the least that training needs."""


class StoreError(OnewaferError):
    """A parameter store cannot be opened or made, such as one of another run."""


class NoRoomError(StoreError):
    """The disk has too little room for a parameter store and what is beside it."""


class DamagedStoreError(StoreError):
    """A file of a parameter store is missing, cut or altered; its data is not handed out."""


class StoreInUseError(StoreError):
    """Another process has the parameter store open."""


class TrackingError(OnewaferError):
    """The database of runs cannot be prepared or written."""


class ReportError(OnewaferError):
    """A result that the report needs is missing or cannot be read."""


class Interrupted(OnewaferError):
    """The user or the system asked a stage to stop; what was done so far is saved.

    ``exit_code`` follows the shell's convention, 128 plus the number of the signal.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
