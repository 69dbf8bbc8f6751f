"""What can go wrong, as one small tree.

ModicumError
├── InputError      a file, a row or a column that cannot be used   (ValueError)
├── BudgetError     a budget that cannot be read or met             (ValueError)
├── OptionError     an option that does not exist or does not fit   (ValueError)
├── ModelError      a model that cannot be found, loaded or trusted (RuntimeError)
├── RenderError     a row that cannot be written in the template    (ValueError)
├── AlignmentError  numbers that were made from another pool        (ValueError)
├── TrainingError   a training that lost rows, or its way           (RuntimeError)
└── RunError        an output folder that belongs to something else (RuntimeError)

The library raises these; only the command line turns them into one line and exit status 2.
"""


class ModicumError(Exception):
    """Anything Modicum refuses, with what to do about it in the message."""


class InputError(ModicumError, ValueError):
    """A file, a row or a column that cannot be used."""


class BudgetError(ModicumError, ValueError):
    """A budget that cannot be read, or that the pool cannot meet."""


class OptionError(ModicumError, ValueError):
    """An option that does not exist, or a value that it does not take."""


class ModelError(ModicumError, RuntimeError):
    """A model that cannot be found, loaded or trusted."""


class RenderError(ModicumError, ValueError):
    """A row that cannot be written in the model's chat template."""


class AlignmentError(ModicumError, ValueError):
    """Numbers that were made from another pool."""


class TrainingError(ModicumError, RuntimeError):
    """A training that lost rows on the way in, or whose loss is no number."""


class RunError(ModicumError, RuntimeError):
    """An output folder that belongs to something else."""
