"""The HTTP server: an event loop handles connections without threads, requests run on threads shared fairly.

`connections` limits what a peer may do with a connection, `lanes` assigns threads to kinds of requests, `bridge` runs
the WSGI application on them. Nothing here interprets requests, except the path, which decides the lane.

It is an ASGI application in uvicorn.

Other servers were compared with an application of four views on two busy cores: 300 followers of a stream, slow peers,
an upload of 200 MB, and one SQL statement that takes a second. *Answered* means `/healthz` within 3 s.

    server                     300 followers     1,000 half heads  200 slow bodies  200 not reading  long SQL  upload
    gunicorn gthread, 64 thr.  64, not answered  not answered      not answered     not answered     answered  1.9 s
    gunicorn gevent            all, 16 kB each   answered          answered         2.8 s            no (1)    3.7 s (1)
    waitress, 64 threads       64, not answered  answered          answered         +200 MB, 2.6 s   answered  0.8 s (2)
    granian WSGI, 64 threads   64, not answered  answered          not answered     not answered     answered  0.6 s

    "64": 64 of the followers were served  (1) not answered meanwhile  (2) through a file on disk

None has a minimum rate, a limit for each address or separate threads for some requests. With gevent, one blocking call
to SQLite or git stops everything. uvicorn has none of these limits either, but its protocol class is small and made to
be extended, and its transports show what is buffered.

Here 300 followers of a printing execution cost 0.2 of a core and 22 kB each, all served; 64 threads served 32.
`benchmarks/slow_clients.py` attacks a server with 1,000 connections of each kind: `/healthz` and a heartbeat are
answered with a median of 9 to 26 ms, against 12 ms without an attack. The slowest answer took 0.1 to 1.4 s, on a
machine with four times as much to do as it has processors, while the 1,000 connections were accepted at once. Without
these limits nothing was answered.
"""
