"""What can go wrong before a verdict exists."""


class CannotCompareError(Exception):
    """The comparison could not be made: bad arguments, an unreadable file, a missing package.

    Its message is one line for the user, saying what was wrong, where, and what to do next. The command line turns it
    into exit code 2.
    """


class NotApplicableError(CannotCompareError):
    """A stage has nothing to judge in this case, as a task without labels has no loss; in `all` it is left out."""
