"""What can go wrong before a verdict exists."""


class CannotCompareError(Exception):
    """The comparison could not be made: bad arguments, an unreadable file, a missing package.

    Its message is one line for the user, saying what was wrong, where, and what to do next. The command line turns it
    into exit code 2.
    """
