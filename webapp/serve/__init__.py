"""Stillhouse on one machine: the embedded servers, the web server, a worker and the watchdog's clock, as one program.

    python -m webapp.serve [--host 127.0.0.1] [--port 8000]

It prepares the database, starts each service and server, starts again what dies, and ends them all on Ctrl-C or SIGTERM. The services write to
STILLHOUSE_HOME/log. A run that a worker is training when it ends goes on from its checkpoint at the next start. One home is served once, and
what a killed `serve` has left running is found by the next one.
"""

from webapp.serve.address import free_port as free_port
from webapp.serve.lives import ServeError as ServeError
from webapp.serve.services import Services as Services
from webapp.serve.serving import Serving as Serving
from webapp.serve.serving import stillhouse as stillhouse
