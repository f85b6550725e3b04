"""The one exception a user is meant to see."""


class UserError(Exception):
    """A mistake the user can mend: one sentence naming the file or field and the remedy.

    The command line prints it without a traceback and exits with code 2.
    """
