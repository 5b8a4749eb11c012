"""The configuration, a package for Hydra: `initialize_config_module("sanity.conf")`."""
