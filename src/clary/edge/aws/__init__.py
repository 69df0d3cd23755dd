"""The door for AWS protocols, driven by botocore's service models."""
