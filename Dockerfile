# One image for every process of issuebox; its command says which one it runs:
#   issuebox api | issuebox worker | localdaytona
# The root file system may be read-only: it writes to /tmp, and only localdaytona to /data.

FROM ghcr.io/astral-sh/uv:0.13.9 AS uv

FROM python:3.11-slim-bookworm AS build
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
COPY . .
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --frozen --no-dev --no-editable

FROM python:3.11-slim-bookworm
RUN groupadd --gid 10001 issuebox \
    && useradd --uid 10001 --gid issuebox --no-create-home --home-dir /tmp --shell /usr/sbin/nologin issuebox \
    && install --directory --owner=issuebox --group=issuebox --mode=0700 /data
COPY --from=build /opt/issuebox /opt/issuebox
ENV PATH=/opt/issuebox/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# A number, so that Kubernetes' runAsNonRoot can check it.
USER 10001:10001
WORKDIR /tmp
EXPOSE 8787 3986
CMD ["issuebox", "--help"]
