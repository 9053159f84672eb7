# The proxy in production. Every package that pip installs is named with its hash in requirements.lock; the base is whatever
# its tag names, so that it has its fixes when it is built anew.
FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /venv
COPY requirements.lock ./
RUN /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY proxy ./proxy
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PROXY_HOST=0.0.0.0 PROXY_PORT=8080
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin proxy
USER 10001
EXPOSE 8080
# Not by urllib, which would go through a proxy of the environment.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
  CMD ["python", "-c", "import http.client, os, sys; \
proxy = http.client.HTTPConnection('127.0.0.1', int(os.environ['PROXY_PORT']), timeout=2); \
proxy.request('GET', '/health/ready'); sys.exit(proxy.getresponse().status != 200)"]
CMD ["generations-proxy", "serve"]
