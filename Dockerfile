# The one image of Hearthgate: operator, proxy, standalone and every command are the same binary.

FROM rust:1.95-slim-bookworm AS build
# aws-lc, the only crypto provider, is C.
RUN apt-get update && apt-get install -y --no-install-recommends cmake g++ make && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN cargo build --release --locked --bin hearthgate

# Root certificates, time zones, glibc, and nothing else: no shell to be dropped into.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /source/target/release/hearthgate /usr/local/bin/hearthgate
USER 65532:65532
EXPOSE 8080 9090
ENTRYPOINT ["/usr/local/bin/hearthgate"]
