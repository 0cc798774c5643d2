"""Version v1: `api_pb2` and `api_pb2_grpc` (generated)."""
