# The server as it runs in production. `make build` builds it, `make image-check` proves it without Docker.
#
# The tag says which Python this is, the digest pins it. It stands in both stages, as dependabot, which moves it, does not
# look into an ARG; `make build BASE=...` takes another one, which needs the same `python`, pip and ensurepip included.
FROM python:3.13.16-slim-trixie@sha256:bf44cdfcb76cd3b41e879bc058fc37ec5872002ccfde7fcb765e218cde0cd79c AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_ONLY_BINARY=:all: PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements/ requirements/
RUN python -m venv tools \
    && tools/bin/pip install --quiet --require-hashes --requirement requirements/build.txt \
    && python -m venv --without-pip /opt/sre-server \
    && tools/bin/pip --python /opt/sre-server install --quiet --require-hashes --requirement requirements/image.txt
COPY setup.py pyproject.toml README.md ./
COPY sre_server/ sre_server/
COPY twisted/ twisted/
# Bytecode is marked as never to be checked against its source, as neither changes. Twisted takes its plugin cache for
# stale unless it is newer than every plugin, so the cache is dated one second after everything else.
ARG SOURCE_DATE_EPOCH=315532800
RUN tools/bin/pip wheel --quiet --no-build-isolation --no-deps --no-index --wheel-dir dist . \
    && tools/bin/pip --python /opt/sre-server install --quiet --no-deps --no-index dist/*.whl \
    && tools/bin/pip --python /opt/sre-server check \
    && /opt/sre-server/bin/python -c 'from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))' \
    && find /opt/sre-server -name __pycache__ -type d -prune -exec rm -rf {} + \
    && /opt/sre-server/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/sre-server/lib \
    && find /opt/sre-server -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH}" {} + \
    && find /opt/sre-server -name dropin.cache -exec touch --date="@$((SOURCE_DATE_EPOCH + 1))" {} +

FROM python:3.13.16-slim-trixie@sha256:bf44cdfcb76cd3b41e879bc058fc37ec5872002ccfde7fcb765e218cde0cd79c
# What installs software has no place here. The base comes without bytecode of Python's own library: without it, each
# start would compile it anew.
RUN python -c 'import ensurepip, shutil; shutil.rmtree(ensurepip.__path__[0])' \
    && python -m pip uninstall --quiet --yes --root-user-action ignore pip \
    && python -m compileall -q --invalidation-mode unchecked-hash \
        -x '/(test|tests|idlelib|lib2to3|site-packages|dist-packages|tkinter|turtledemo)/' \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=build /opt/ /opt/
ENV PATH=/opt/sre-server/bin:${PATH} PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1
USER 65532:65532
EXPOSE 8443
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["python", "-m", "sre_server.daemon.healthcheck"]
ENTRYPOINT ["twistd", "-n", "--pidfile=", "sre-server"]
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=1980-01-01T00:00:00Z
LABEL org.opencontainers.image.title="sre-server" \
      org.opencontainers.image.description="Serves Kubernetes Deployments' replica counts over mutual TLS 1.3" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
