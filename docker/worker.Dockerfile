# A worker that trains on the CPU; with another command, beat.
#     docker build --file docker/worker.Dockerfile --tag stillhouse-worker .
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PYTHONPATH=/app \
    STILLHOUSE_DEBUG=0 \
    STILLHOUSE_HOME=/var/lib/stillhouse

# A volume that is mounted on the store for the first time takes over this owner, the same as in the web's image.
RUN useradd --uid 10001 --home-dir /var/lib/stillhouse --create-home stillhouse \
    && install --directory --mode=0700 --owner=stillhouse --group=stillhouse /var/lib/stillhouse/store

WORKDIR /app
COPY pyproject.toml requirements.lock requirements-nodeps.lock docker/dependencies.py /app/

# torch first, and alone, from where its CPU build lies; what it needs comes with the rest, in the lock's versions.
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps --constraint requirements.lock \
        --index-url https://download.pytorch.org/whl/cpu torch \
    && python dependencies.py worker > /tmp/dependencies.txt \
    && pip install --no-cache-dir --disable-pip-version-check --constraint requirements.lock --requirement /tmp/dependencies.txt \
    && pip install --no-cache-dir --disable-pip-version-check --no-deps --requirement requirements-nodeps.lock

COPY manage.py docker/health.py /app/
COPY engine /app/engine
COPY webapp /app/webapp
COPY workers /app/workers
COPY templates /app/templates

USER stillhouse
HEALTHCHECK --interval=60s --timeout=15s --start-period=60s CMD ["python", "health.py", "worker"]
CMD ["celery", "--app", "workers.app", "worker"]
