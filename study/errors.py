"""The exceptions that users see."""


class StudyError(Exception):
    """A mistake or a fault outside the program. Its message is one line that names the fix."""


class CellsFailed(Exception):
    """Some cells of a sweep failed; the others are recorded."""
