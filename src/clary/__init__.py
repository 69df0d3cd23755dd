"""Clary: the SageMaker hosting API, self-hosted.

`docs/architecture.md` is the map. The import contract in pyproject.toml says which package may see which.
"""

__version__ = "0.1.0"
