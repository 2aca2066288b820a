"""An embedded server that speaks Redis' protocol, for development on systems that have no Redis: `python -m devstack.redisd --port 6379`.

It is what Celery, kombu, Django's caches and channels need, no more: a command it lacks gets an error and a word in its stream. It is a
program of its own, and the rest of devstack knows only its command line.

Rule 1: one loop; a command is a function that runs to its end, so every command is atomic.
Rule 2: a command is one function in the file of its family; its signature is its arity, and the docstring of Redis is its documentation.
Rule 3: answers are compared with those of a real Valkey by the thousand (tests/integration/test_redisd_fuzz.py); where we differ on
purpose, the test names it.
Rule 4: no client can disturb another one: what is malformed, too big, or never read ends its own connection.
"""
