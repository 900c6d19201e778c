# ns_jax with everything that it needs, for TPUs or for NVIDIA GPUs (launch/README.md):
#   docker build --build-arg=ACCELERATOR=tpu --build-arg=UV_EXCLUDE_NEWER="$(git log -1 --format=%cI)" --tag=IMAGE .
ARG BASE=debian:bookworm-slim
# hadolint ignore=DL3006
FROM ${BASE}

# An extra of setup.py: `tpu` brings libtpu, `cuda12` the libraries of CUDA; the machine has only the driver.
ARG ACCELERATOR=tpu
# No package newer than this time, so that the same commit gets the same packages; setup.py has the lower bounds.
ARG UV_EXCLUDE_NEWER=2100-01-01

# Versions are not pinned: Debian keeps only the newest. TensorFlow's client of buckets reads the certificates.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --no-install-recommends --yes ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid=1000 ns_jax \
    && python3 -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir uv==0.9.*

ENV PATH=/opt/venv/bin:$PATH VIRTUAL_ENV=/opt/venv PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

# The packages first: their layer is built anew only when setup.py changes.
WORKDIR /opt/ns_jax
COPY setup.py pyproject.toml README.md ./
COPY ns_jax/version.py ns_jax/
RUN uv pip install --no-cache ".[${ACCELERATOR},gcs,demo]" && uv pip uninstall ns_jax && rm -rf build ns_jax.egg-info

COPY . .
RUN uv pip install --no-cache --no-deps --editable .

# By number, which Kubernetes can check (runAsNonRoot).
USER 1000
CMD ["python", "-m", "ns_jax.main", "--helpshort"]
