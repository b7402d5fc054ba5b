"""The image, built and run for real without Docker and without a registry: `make image-check`."""
