# An image for each service, and one that makes certificates for them: a fixed set of files, no shell, no root.
#   docker build --target gateway .
#   docker build --target users-svc .
#   docker build --target certs .
# With --build-arg PGO=yes, they are optimized by a profile: a fifth more throughput, for three times the build.

# What the labels say, set by a release. Stages take them up at their end, so that a new value builds nothing again.
ARG VERSION=0.0.0-dev
ARG REVISION=unknown
ARG SOURCE=unknown

FROM rust:1-slim-bookworm AS tools
# cargo-chef builds the dependencies in a layer of their own, which a change of our code does not touch.
# cargo-auditable lists the dependencies in each binary, for scanners of images.
RUN cargo install --locked cargo-chef@0.1.78 cargo-auditable@0.7.7
WORKDIR /src
ENV WHAT="--release --locked --package gateway --package users-svc --package stack --features gateway/otlp,users-svc/otlp"

FROM tools AS plan
COPY . .
RUN cargo chef prepare

FROM tools AS build
COPY --from=plan /src/recipe.json .
RUN cargo chef cook $WHAT
COPY . .
# The programs tell it in their metrics. Only this last step depends on it.
ARG REVISION
ARG PGO=no
RUN case "$PGO" in \
      no) cargo auditable build $WHAT ;; \
      yes) apt-get update && apt-get install --yes --no-install-recommends postgresql wrk && \
        rustup component add llvm-tools && \
        bench/pgo cargo auditable build $WHAT && \
        for program in gateway users-svc stack; do cp "target/pgo/release/$program" target/release || exit; done ;; \
      *) echo "PGO=$PGO is neither yes nor no" >&2; exit 1 ;; \
    esac
RUN mkdir -p /certs/ca /certs/users-svc /certs/gateway /certs/reader

# User 65532, glibc and CA certificates, nothing else.
FROM gcr.io/distroless/cc-debian12:nonroot AS gateway
COPY --from=build /src/target/release/gateway /gateway
EXPOSE 3000
ENTRYPOINT ["/gateway"]
ARG VERSION
ARG REVISION
ARG SOURCE
LABEL org.opencontainers.image.title="gateway" \
      org.opencontainers.image.description="The gateway of the users backend: HTTP in, Cap'n Proto RPC out" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.base.name="gcr.io/distroless/cc-debian12:nonroot" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE"

FROM gcr.io/distroless/cc-debian12:nonroot AS users-svc
COPY --from=build /src/target/release/users-svc /users-svc
EXPOSE 4001
ENTRYPOINT ["/users-svc"]
ARG VERSION
ARG REVISION
ARG SOURCE
LABEL org.opencontainers.image.title="users-svc" \
      org.opencontainers.image.description="The users service: Cap'n Proto RPC in, PostgreSQL out" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.base.name="gcr.io/distroless/cc-debian12:nonroot" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE"

FROM gcr.io/distroless/cc-debian12:nonroot AS certs
COPY --from=build /src/target/release/stack /stack
# A new volume takes over the owner of the folder that it is mounted on.
COPY --from=build --chown=65532:65532 /certs /certs
ENTRYPOINT ["/stack", "certs", "/certs"]
