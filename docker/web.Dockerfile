# The web server, and what is run once before it: manage.py migrate and sync_catalog. No torch.
#     docker build --file docker/web.Dockerfile --tag stillhouse-web .
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PYTHONPATH=/app \
    STILLHOUSE_DEBUG=0 \
    STILLHOUSE_HOME=/var/lib/stillhouse

# A volume that is mounted on the store for the first time takes over this owner.
RUN useradd --uid 10001 --home-dir /var/lib/stillhouse --create-home stillhouse \
    && install --directory --mode=0700 --owner=stillhouse --group=stillhouse /var/lib/stillhouse/store

WORKDIR /app
COPY pyproject.toml requirements.lock docker/dependencies.py /app/
RUN python dependencies.py web > /tmp/dependencies.txt \
    && pip install --no-cache-dir --disable-pip-version-check --constraint requirements.lock --requirement /tmp/dependencies.txt

COPY manage.py docker/health.py /app/
COPY engine /app/engine
COPY webapp /app/webapp
COPY templates /app/templates

USER stillhouse
RUN STILLHOUSE_SECRET_KEY=for-this-command-only-and-kept-nowhere python manage.py collectstatic --no-input

EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["python", "health.py", "web"]
CMD ["uvicorn", "webapp.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--timeout-graceful-shutdown", "3", "--no-access-log", "--no-proxy-headers"]
