"""Celery workers: claim a run, train it in a child process, carry its events to the database. One run can be followed in this order:

jobs.py (the doorbell rings) → devices.py (what is free) → supervisor.py (claim → launch → carry → settle) → launcher.py and child.py (the
two ends of the child process) → wire.py (what goes between them) → sink.py (events → rows). stall.py says whether a child stands still, presence.py
whether this worker may take runs at all, watchdog.py takes back what others lost.
"""
