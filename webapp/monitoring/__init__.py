"""What Prometheus is told. `facts.py` asks the database, `exposition.py` says it in Prometheus' words, `requests.py` times what this process answers."""
