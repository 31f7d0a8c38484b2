"""Addresses in Temporal's Web UI. Nothing here asks it, or knows whether it runs."""

from __future__ import annotations

from urllib.parse import quote

from issuebox.temporal.index import RUNNING
from workflows.messages import WORKFLOW_TYPE


def workflow_url(ui_url: str, namespace: str, name: str) -> str:
    """The page of a workflow; '' without a Web UI."""
    return f"{ui_url.rstrip('/')}/namespaces/{namespace}/workflows/{name}" if ui_url else ""


def list_url(ui_url: str, namespace: str) -> str:
    """The list of the issues' workflows, as a view to open or to save; '' without a Web UI."""
    query = quote(f"WorkflowType = '{WORKFLOW_TYPE}' AND {RUNNING}", safe="")
    return f"{ui_url.rstrip('/')}/namespaces/{namespace}/workflows?query={query}" if ui_url else ""
