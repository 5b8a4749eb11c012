"""The doors of console scripts that are not `sanity` itself: each module has a `main`."""
