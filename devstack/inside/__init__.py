"""What runs inside the user's Python processes: `boot` (starts the program), `beacon` (says how it is), `ask` (reads the Celery settings).

Rule 1: standard library only, Python 3.8 or newer, nothing imported from devstack: these files run on the project's interpreter.
Rule 2: nothing here raises into the program, changes what it sees (but for the list in `boot`), blocks it, or outlives the supervisor.
"""
