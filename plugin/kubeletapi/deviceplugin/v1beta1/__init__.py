"""Version v1beta1, the only one there is: `api_pb2`, `api_pb2_grpc` (generated) and `constants`."""
