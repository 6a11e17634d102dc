"""HTTP: connections on an event loop that holds no thread for any of them, and requests on threads that are shared fairly.

`connections` bounds what a peer may do with a connection, `lanes` who gets threads, `bridge` runs the WSGI application on them.
Nothing here knows what a request means, but for the path that decides its lane.
"""
