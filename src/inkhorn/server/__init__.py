"""The OpenAI-compatible HTTP server.

A generation request goes from `routes` through `validation` (request to job) and `generation` (job to engine) to
`streaming` (engine output to server-sent events).
"""
