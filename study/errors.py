"""The exceptions that users see."""


class StudyError(Exception):
    """A mistake or a fault outside the program. Its message is one line that names the fix."""


class Damaged(StudyError):
    """A finished training in the store turned out damaged. It was set aside, so that it is run again."""


class CellsFailed(Exception):
    """Some cells of a sweep failed; the others are recorded."""
