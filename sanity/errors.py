"""What a user is told when something cannot be done."""


class ConfigError(Exception):
    """Something the user asked for cannot be done.

    Its text is one sentence that names the key, the value and what is allowed. The command line
    prints it and exits with code 2; a library user catches it.
    """
