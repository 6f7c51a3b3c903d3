"""Generated from protos/shoprank/v1 by `make protos`; do not edit."""
