"""Temporal's limits on what a message, a memo or a summary may hold, in bytes, with their sources.

They are the defaults of server 1.29.1, `common/dynamicconfig/constants.go`; a server may be configured to smaller ones.
"""

from __future__ import annotations

PAYLOADS_BYTES_MAX = 2 * 1024 * 1024
"""`limit.blobSize.error`. Of the input or the result of a workflow, an activity, a signal, an update or a query, and of
heartbeat details. Beyond it the server terminates the workflow run that continues as new
(`workflow_size_checker.go`), and fails a query (`respondworkflowtaskcompleted/api.go`)."""

PAYLOADS_WARN_BYTES = 512 * 1024
"""`limit.blobSize.warn`. The SDK warns from the same size on (temporalio 1.35.0, `PayloadLimitsConfig`)."""

MEMO_BYTES_MAX = 2 * 1024 * 1024
"""`limit.memoSize.error`."""

SEARCH_ATTRIBUTE_BYTES_MAX = 2 * 1024
"""`frontend.searchAttributesSizeOfValueLimit`."""

SEARCH_ATTRIBUTES_BYTES_MAX = 40 * 1024
"""`frontend.searchAttributesTotalSizeLimit`."""

KEYWORD_CHARACTERS_MAX = 255
"""On PostgreSQL and MySQL: `schema/postgresql/v12/visibility/schema.sql`, `Keyword01` to `Keyword10`."""

SUMMARY_BYTES_MAX = 400
"""`limit.userMetadataSummarySize`, of the payload. Server 1.29.1 declares it and does not enforce it yet."""

DETAILS_BYTES_MAX = 20_000
"""`limit.userMetadataDetailsSize`, of the payload. Current details are the answer to a query and not bound by it; they
are held to it all the same, because people read them on one page."""

FAILURE_BYTES_MAX = 4 * 1024
"""`limit.mutableStateActivityFailureSize.error`. A longer failure of an attempt that is retried loses its type
(`mutable_state_impl.go`, `truncateRetryableActivityFailure`)."""

ID_BYTES_MAX = 1000
"""`limit.maxIDLength`: workflow IDs, and the types of failures."""

MESSAGE_BYTES_MAX = 4 * 1024 * 1024
"""Of a gRPC message: the default of grpc-go for what a server receives. A workflow task's completion is one message."""
