"""Sandbox platforms behind `issuebox.domain.provider.SandboxProvider`. One module set per platform."""
