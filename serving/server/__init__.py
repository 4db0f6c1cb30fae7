"""The embedded server: REST and gRPC over one service."""
