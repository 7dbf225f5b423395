# Two images, one for each service: a static set of files, no shell, no root.
#   docker build --target gateway .
#   docker build --target users-svc .

FROM rust:1-slim-bookworm AS build
WORKDIR /src
# Lists the dependencies in each binary, so that scanners can read what is in the image.
RUN cargo install --locked --version 0.7.7 cargo-auditable

# The dependencies first, under empty crates of ours: a change of our code does not build them again.
COPY Cargo.toml Cargo.lock build.rs ./
COPY schema/users.capnp schema/users.capnp.req schema/
COPY service-runtime/Cargo.toml service-runtime/
COPY clients/rust/Cargo.toml clients/rust/
COPY clients/cli/Cargo.toml clients/cli/
COPY gateway/Cargo.toml gateway/
COPY users-svc/Cargo.toml users-svc/
COPY stack/Cargo.toml stack/
COPY postgres-server/Cargo.toml postgres-server/
COPY e2e/Cargo.toml e2e/
COPY bench/Cargo.toml bench/
RUN mkdir -p service-runtime/src clients/rust/src clients/cli/src gateway/src users-svc/src stack/src postgres-server/src e2e/src bench/src bench/benches \
 && touch schema/lib.rs service-runtime/src/lib.rs clients/rust/src/lib.rs gateway/src/lib.rs users-svc/src/lib.rs stack/src/lib.rs postgres-server/src/lib.rs e2e/src/lib.rs \
 && touch bench/benches/transport.rs bench/benches/batcher.rs \
 && for service in gateway users-svc stack bench clients/cli; do echo 'fn main() {}' > $service/src/main.rs; done \
 && cargo auditable build --release --locked --package gateway --package users-svc --features gateway/otlp,users-svc/otlp

COPY schema schema
COPY service-runtime service-runtime
COPY clients/rust clients/rust
COPY gateway gateway
COPY users-svc users-svc
# Files come with their own times, which may lie before those of the empty crates.
RUN find schema service-runtime clients gateway users-svc -name '*.rs' -exec touch {} + \
 && cargo auditable build --release --locked --package gateway --package users-svc --features gateway/otlp,users-svc/otlp

# User 65532, glibc and CA certificates, nothing else.
FROM gcr.io/distroless/cc-debian12:nonroot AS gateway
COPY --from=build /src/target/release/gateway /gateway
EXPOSE 3000
ENTRYPOINT ["/gateway"]

FROM gcr.io/distroless/cc-debian12:nonroot AS users-svc
COPY --from=build /src/target/release/users-svc /users-svc
EXPOSE 4001
ENTRYPOINT ["/users-svc"]
