"""The services that the domain's Protocols stand for: Daytona as `SandboxProvider`, GitHub as `IssueSource`."""
