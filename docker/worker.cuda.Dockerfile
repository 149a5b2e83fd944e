# A worker that trains on NVIDIA GPUs. The machine brings the driver and NVIDIA's container toolkit, nothing else.
#     docker build --file docker/worker.cuda.Dockerfile --tag stillhouse-worker-cuda .
FROM python:3.11-slim-bookworm

# "utility" brings nvidia-smi, by which a worker finds its GPUs and their free memory.
ENV PYTHONUNBUFFERED=1 \
    PYTHONPATH=/app \
    STILLHOUSE_DEBUG=0 \
    STILLHOUSE_HOME=/var/lib/stillhouse \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# A volume that is mounted on the store for the first time takes over this owner, the same as in the web's image.
RUN useradd --uid 10001 --home-dir /var/lib/stillhouse --create-home stillhouse \
    && install --directory --mode=0700 --owner=stillhouse --group=stillhouse /var/lib/stillhouse/store

WORKDIR /app
COPY pyproject.toml requirements.lock requirements-nodeps.lock docker/dependencies.py /app/

# The package index's build of torch for Linux is the CUDA one, in the same version; it pins CUDA's libraries itself.
RUN python dependencies.py worker > /tmp/dependencies.txt \
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
