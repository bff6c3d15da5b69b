# An image that serves the bundled model. The first stage compiles the native kernel for every instruction set of the CPU
# architecture; the kernel selects one at run time, so the image runs on any CPU of that architecture.
#
#     docker build -t inkhorn . && docker run --rm -p 8000:8000 inkhorn --api-key SECRET
FROM python:3.11-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml constraints.txt CMakeLists.txt README.md LICENSE ./
COPY native native
COPY src src
RUN python -m venv /opt/inkhorn \
 && /opt/inkhorn/bin/pip install --no-cache-dir -c constraints.txt '.[serve]' \
 && /opt/inkhorn/bin/python -c 'from inkhorn.inference.backends import native_bindings as kernel; assert kernel.unavailable_reason() is None, kernel.unavailable_reason()'

FROM python:3.11-slim
COPY --from=build /opt/inkhorn /opt/inkhorn
RUN useradd --uid 1000 --no-create-home --shell /usr/sbin/nologin inkhorn
USER inkhorn
EXPOSE 8000
# To listen elsewhere, set this variable; --port would not change the health check. A full queue is not ill health.
ENV INKHORN_PORT=8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/opt/inkhorn/bin/python", "-c", \
  "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['INKHORN_PORT'] + '/health', timeout=2)"]
ENTRYPOINT ["/opt/inkhorn/bin/inkhorn", "serve", "--host", "0.0.0.0"]
