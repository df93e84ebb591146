"""`python -m cantowhisper.cli` is the command `cantowhisper`."""

import sys

from cantowhisper.cli.main import main

sys.exit(main())
