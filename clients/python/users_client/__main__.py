"""`python -m users_client`"""

import asyncio
import sys

import capnp

from .command_line import main

try:
    sys.exit(asyncio.run(capnp.run(main(sys.argv[1:]))))
except KeyboardInterrupt:
    sys.exit(1)
