"""Driving a running stack from another terminal: one connection, one request, and what is answered, each a JSON object on a line."""
