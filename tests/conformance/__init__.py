"""Every published image processor beside the Target that `Target.from_config` makes of it: docs/conformance.md."""
