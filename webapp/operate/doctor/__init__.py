"""What runs, what does not, and what is set so that it will hurt: each as one line with what to do about it.

lines.py says what a line is; machine.py looks at this machine, servers.py at database and Redis, settings.py at the configuration, and work.py at
web, workers and queue. checkup.py asks them all.
"""
