"""The one exception that means: the user can fix this."""


class UserError(ValueError):
    """A value the user gave cannot be used.

    The message is a single line that names the value and what would be accepted. Command-line
    tools print it on stderr and exit with code 2; library callers see an ordinary `ValueError`.
    """
