# The service of `run.py serve` with its review page, as an image: see docs/serving.md.
#
#   docker build -t heldout-serve .
#   docker build -t heldout-serve --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .    with CUDA

ARG PYTHON_IMAGE=docker.io/library/python:3.12-slim-bookworm
ARG NODE_IMAGE=docker.io/library/node:22-bookworm-slim

FROM ${NODE_IMAGE} AS page
WORKDIR /page
COPY src/heldout/serve/page/package.json src/heldout/serve/page/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY src/heldout/serve/page ./
RUN npm run build

FROM ${PYTHON_IMAGE} AS wheel
WORKDIR /source
COPY pyproject.toml requirements.txt README.md LICENSE .gitignore ./
# what `heldout start` copies is linked from below src
COPY input/README.md input/
COPY working/README.md working/
COPY submissions/README.md submissions/
COPY kaggle_kernels/README.md kaggle_kernels/
COPY exps exps
COPY src src
COPY --from=page /page/dist src/heldout/serve/page/dist
RUN python3 -m venv /build && /build/bin/pip install --no-cache-dir "setuptools>=77" \
    && /build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

# All that is installed goes into one folder, so that the last stage holds no pip cache and no compiler.
FROM ${PYTHON_IMAGE} AS packages
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN python3 -m venv /opt/heldout \
    && /opt/heldout/bin/pip install --no-cache-dir --index-url "${TORCH_INDEX}" "torch>=2.6" "torchvision>=0.21"
COPY --from=wheel /wheels /wheels
RUN /opt/heldout/bin/pip install --no-cache-dir "$(echo /wheels/heldout-*.whl)[serve,s3]"

FROM ${PYTHON_IMAGE} AS service
COPY --from=packages /opt/heldout /opt/heldout
RUN groupadd --gid 10001 heldout && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent heldout \
    && mkdir -p /data /bundle /registry && chown 10001:10001 /data
# /bundle holds what `run.py bundle` wrote; /data the corrections, the audit log and what was fetched from a registry; /tmp is
# a tmpfs for uploads. Nothing else is written.
ENV PATH=/opt/heldout/bin:${PATH} \
    PYTHONDONTWRITEBYTECODE=1 \
    HF_HUB_OFFLINE=1 \
    NO_ALBUMENTATIONS_UPDATE=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    HELDOUT_HOME=/data \
    HELDOUT_SERVE_AUDIT_LOG=/data/audit.jsonl \
    HELDOUT_SERVE_DECISION=/bundle \
    HELDOUT_SERVE_HOST=0.0.0.0 \
    HELDOUT_SERVE_PORT=8000 \
    HELDOUT_SERVE_TOKEN_FILE=/run/secrets/heldout_tokens
WORKDIR /data
USER 10001:10001
EXPOSE 8000
VOLUME /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['HELDOUT_SERVE_PORT'] + '/healthz', timeout=4)"]
ENTRYPOINT ["heldout", "serve"]
