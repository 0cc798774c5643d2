# The conformance kit as an image, for machines without Python (docs/conformance.md):
#
#   docker build -f deploy/conformance.Dockerfile -t fakehw-conformance .
#   docker run --rm -v "$PWD:/drivers" fakehw-conformance --api dra -- /drivers/my-dra-driver
#
# What is tested runs in the container: a static binary as it is, anything else in an image made FROM this one.
ARG BASE=docker.io/library/python:3.11-slim-bookworm
FROM ${BASE}
WORKDIR /src
COPY . .
# The versions that the tests run with; hashes are for the image that goes on nodes.
RUN sed -n 's/^\([A-Za-z0-9._-]*==[^ ]*\).*/\1/p' hack/requirements-dev.txt > /tmp/versions \
 && python3 -m venv /opt/fakehw \
 && /opt/fakehw/bin/pip install --no-cache-dir --disable-pip-version-check --constraint /tmp/versions ".[apiserver]" \
 && rm -rf /src/* /tmp/versions
ENV PATH=/opt/fakehw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
WORKDIR /work
ENTRYPOINT ["fakehw-conformance"]
