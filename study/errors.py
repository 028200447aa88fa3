"""The exceptions that users see."""


class StudyError(Exception):
    """A mistake or a fault outside the program. Its message is one line that names the fix."""


class Damaged(StudyError):
    """A file of ours is not as it was written: a record, or a finished training, which the store has set aside."""


class CellsFailed(Exception):
    """Some cells of a sweep failed; the others are recorded."""
