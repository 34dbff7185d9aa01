# One image with every binary; the command picks which: `worker`, `api`, `paysim`.
ARG RUST_VERSION=1.95.0
ARG DEBIAN_RELEASE=trixie

FROM rust:${RUST_VERSION}-slim-${DEBIAN_RELEASE} AS build
# Overrides rust-toolchain.toml, which would download clippy and rustfmt that no image needs.
ARG RUST_VERSION
ENV RUSTUP_TOOLCHAIN=${RUST_VERSION}
WORKDIR /src
COPY . .
# The target folder lives in a build cache and is gone afterwards, so the binaries are copied out in
# the same step.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    cargo build --release --locked --package worker --package api --package paysim \
    && mkdir /out \
    && cp target/release/worker target/release/api target/release/paysim /out/

FROM debian:${DEBIAN_RELEASE}-slim
# curl is for the health checks, the certificates for a payment provider behind public TLS. Versions
# follow the Debian release, which only moves for security fixes.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin holdfast
WORKDIR /app
COPY --from=build /out/ /usr/local/bin/
COPY catalog/ catalog/
USER 10001:10001
CMD ["api"]
