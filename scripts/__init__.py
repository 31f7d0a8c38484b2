"""What a developer runs: generated pages and files, and the tools that a fresh machine lacks."""
