# syntax=docker/dockerfile:1
# Images of the three programs, for those who have Docker or Podman with BuildKit's mounts:
#
#   docker build --target sfu      --tag calls-sfu .
#   docker build --target director --tag calls-director .
#   docker build --target operator --tag calls-operator .
#
# The local cluster of `cargo e2e up` needs neither this file nor an engine: e2e/src/image.rs makes its images. The tests
# do not build this file.

FROM node:20-bookworm-slim AS page
# Of nobody's home, so that the mount below is right for whatever user the base image has.
ENV NPM_CONFIG_CACHE=/npm
WORKDIR /web
COPY web/package.json web/package-lock.json ./
RUN --mount=type=cache,target=/npm npm ci
COPY web .
RUN npm run build

FROM rust:1.95.0-bookworm AS build
# For libopus, which recordings are mixed with.
RUN apt-get update && apt-get install --yes --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
# The toolchain that is in this image, without the components that rust-toolchain.toml asks for development.
ENV RUSTUP_TOOLCHAIN=1.95.0
# The page that is built already; without it, calls-sfu's build script would want Node.
ENV CALLS_PAGE_DIR=/page
WORKDIR /source
COPY --from=page /web/dist /page
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    cargo build --locked --release -p calls-sfu -p calls-director -p calls-operator \
    && mkdir /programs \
    && cp target/release/calls-sfu target/release/calls-director target/release/calls-operator /programs/

# glibc, libgcc, certificate authorities, and nothing else: no shell. The user is 65532, as in the pods the operator makes.
FROM gcr.io/distroless/cc-debian12:nonroot AS base
USER 65532:65532

FROM base AS director
COPY --from=build /programs/calls-director /usr/bin/calls-director
ENTRYPOINT ["/usr/bin/calls-director"]

FROM base AS operator
COPY --from=build /programs/calls-operator /usr/bin/calls-operator
ENTRYPOINT ["/usr/bin/calls-operator"]

# Last, so that a build without a target makes the program that works alone: docker run --network host IMAGE serve --dev
FROM base AS sfu
COPY --from=build /programs/calls-sfu /usr/bin/calls-sfu
ENTRYPOINT ["/usr/bin/calls-sfu"]
