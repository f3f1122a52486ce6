"""`python -m api.cli`: the command line, also where the command `tcpdashboard` is not on the path."""

import sys

from api.cli import main

sys.exit(main())
