"""What `issuebox connect` does beside asking GitHub and Daytona: the manifest, the local page, the tunnel.

It prints nothing and stores nothing: the commands do, in `issuebox.cli`.
"""
