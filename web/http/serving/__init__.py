"""The HTTP server: an event loop handles connections without threads, requests run on threads shared fairly.

`connections` limits what a peer may do with a connection, `lanes` assigns threads to kinds of requests, `bridge` runs
the WSGI application on them. Nothing here interprets requests, except the path, which decides the lane.
"""
