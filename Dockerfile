# Two images, one for production and one for a local Daytona; their command says which process they run:
#   docker build --target issuebox .        issuebox api | issuebox worker
#   docker build --target localdaytona .    localdaytona
# The root file system may be read-only: issuebox writes to /tmp, and localdaytona also to /data.

FROM ghcr.io/astral-sh/uv:0.13.9 AS uv

FROM python:3.11-slim-bookworm AS dependencies
COPY --from=uv /uv /usr/local/bin/uv
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PYTHON_DOWNLOADS=never \
    UV_PROJECT_ENVIRONMENT=/opt/issuebox
WORKDIR /src
# Dependencies first: they change less often than our code, so this layer mostly comes from the cache.
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=bind,source=uv.lock,target=uv.lock \
    --mount=type=bind,source=pyproject.toml,target=pyproject.toml \
    uv sync --frozen --no-dev --no-install-project

# The packages of production alone. The wheel takes those that are there, but names both commands.
FROM dependencies AS build
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY api api
COPY workflows workflows
COPY activities activities
COPY issuebox issuebox
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --frozen --no-dev --no-editable \
    && rm /opt/issuebox/bin/localdaytona

FROM dependencies AS build-localdaytona
COPY pyproject.toml uv.lock README.md LICENSE ./
COPY localdaytona localdaytona
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --frozen --no-dev --no-editable \
    && rm /opt/issuebox/bin/issuebox

FROM python:3.11-slim-bookworm AS base
RUN groupadd --gid 10001 issuebox \
    && useradd --uid 10001 --gid issuebox --no-create-home --home-dir /tmp --shell /usr/sbin/nologin issuebox
ENV PATH=/opt/issuebox/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /tmp

FROM base AS localdaytona
RUN install --directory --owner=issuebox --group=issuebox --mode=0700 /data
COPY --from=build-localdaytona /opt/issuebox /opt/issuebox
# A number, so that Kubernetes' runAsNonRoot can check it.
USER 10001:10001
EXPOSE 3986
CMD ["localdaytona", "--help"]

# The last stage: what `docker build .` builds.
FROM base AS issuebox
COPY --from=build /opt/issuebox /opt/issuebox
USER 10001:10001
EXPOSE 8787
CMD ["issuebox", "--help"]
