"""`python -m stockade.daemon`."""

import sys

from stockade.daemon.main import main

sys.exit(main(sys.argv[1:]))
