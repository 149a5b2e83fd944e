"""Imported once by the forkserver, so that a child starts with torch, the runner, all methods and all tasks in memory.

Imports only: an operation of torch would start its threads, which do not survive a fork.
"""

import importlib
import logging

from engine.spec import catalog

# torch._dynamo is imported by the first optimizer that is made, and takes a second.
for _name in ("torch._dynamo", "torch.utils.flop_counter", "engine.run.runner", "workers.child"):
    importlib.import_module(_name)

for _load, _ids in ((catalog.load_method, catalog.methods()), (catalog.load_task, catalog.tasks())):
    for _id in _ids:
        try:
            _load(_id)
        except Exception:  # a broken method is the affair of the runs that ask for it
            logging.getLogger(__name__).exception("%s can't be loaded ahead", _id)
