"""The one exception that is the user's to mend."""


class UserError(Exception):
    """A mistake at the border: a missing folder, a corrupt file, a wrong value.

    The message is one line that names the thing, what was expected and the remedy. `cli` prints
    it on stderr and exits with status 2, without a traceback.
    """
