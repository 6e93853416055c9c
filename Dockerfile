# syntax=docker/dockerfile:1
FROM python:3.11-slim-bookworm AS packages
COPY requirements/base.txt /requirements.txt
RUN python -m venv /opt/venv \
    && /opt/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-deps \
        --require-hashes --requirement /requirements.txt

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /srv/home mayagen \
    && mkdir /data && chown mayagen: /data
COPY --from=packages /opt/venv /opt/venv
COPY --chown=root:root . /srv/mayagen
WORKDIR /srv/mayagen
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MAYAGEN_BIND=0.0.0.0 \
    MAYAGEN_DATA_DIR=/data
USER mayagen
VOLUME /data
EXPOSE 8000
HEALTHCHECK --start-period=60s --interval=15s --timeout=5s CMD ["python", "-c", \
    "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/healthz'); c.getresponse()"]
# Web server and task queue together; `serve --only web` and `serve --only queue` run them apart.
CMD ["python", "manage.py", "serve"]
