# Two images: `cloud` (api, ingest, locate, worker, migrate) and `simulated` (a node and a store that are simulated).
# docker build --target cloud .
# The versions of Python and Debian are those that the tests run on.

FROM node:22-bookworm-slim AS web
WORKDIR /web
COPY cloud/web/package.json cloud/web/package-lock.json cloud/web/.npmrc ./
RUN npm ci --no-audit --no-fund

FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/opt/aisle
WORKDIR /opt/aisle
RUN useradd --system --uid 10001 --no-create-home aisle

FROM base AS cloud
COPY requirements/cloud.txt requirements/
RUN pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/cloud.txt
COPY contract contract
COPY cloud cloud
COPY --from=web /web/node_modules cloud/web/node_modules
USER aisle
ENTRYPOINT ["python", "-m", "cloud"]

FROM base AS simulated
COPY requirements/dev.txt requirements/
RUN pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/dev.txt
COPY contract contract
COPY edge edge
COPY simulators simulators
USER aisle
ENTRYPOINT ["python", "-m"]
