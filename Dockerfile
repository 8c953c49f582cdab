# The same image as `cargo xtask image` makes, for those who have a Docker daemon:
#   docker build --build-arg PROGRAM=evhub-dataplane --tag evhub.dev/evhub-dataplane:0.1.0 .
# PROGRAM is evhub-operator, evhub-dataplane or evhub.
FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates g++ libssl-dev make zlib1g-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /evhub
COPY . .
ARG PROGRAM=evhub-dataplane
RUN cargo xtask image "$PROGRAM" --files --out /image && mv "/image/$PROGRAM/root" /files && mv "/files/$PROGRAM" /files/program

FROM scratch
COPY --from=build /files /
USER 65532:65532
ENTRYPOINT ["/program"]
