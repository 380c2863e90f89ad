"""Set-up on a bare machine, and what `doctor` says of it: `python3 -m runlab.setup`.

Standard library only, since it runs before anything is installed. It tells too old a Python in one line, so this file
itself must be readable by any Python 3.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - the very case this is for
    sys.stderr.write(
        "setup: Python 3.11 or newer is needed, this is {}.{}; install one beside it"
        " (Ubuntu 22.04: apt-get install python3.11)\n".format(*sys.version_info[:2])
    )
    sys.exit(2)
