"""The one exception a user is meant to see."""


class UserError(Exception):
    """A mistake the user can mend: one sentence naming the file or field and the remedy.

    The command line prints it without a traceback and exits with code 2.
    """


class Diverged(UserError):  # noqa: N818 - the name says what happened
    """A network whose loss, weights or predictions are no numbers any more."""
