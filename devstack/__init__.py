"""devstack: the local process supervisor and dev launcher for Django, Celery and Redis.

Two flows that never mix: events (few, ordered: `inbox → decide(stack, event) → actions → perform`) and bytes (many, dumb:
`pipe → lines → terminal`). A test compares this map with the tree, and another one who imports whom.

  core/     record model events machine table folding formation names lines causes health redis_url secrets echoes
            PURE: what a stack is, what can happen to it, and what to do then
  config/   procfile env settings load command words environment explain interpreter launching options order places service
            dirs shapes suggest text toml
            text → one validated Project; where each value came from
  kinds/    redis django celery servers node web wrappers arguments
            what devstack knows about known programs
  probes/   tcp http exec log redis celery beat told control ports resp
            one question per file; what two of them share
  host/     posix terminal guard guardian windows job console interrupt chain files ports orphans mounts inotify usage wsl
            what differs between systems
  control/  messages client server desk picture names rows instant logbook stops
            the socket through which another terminal drives a running stack
  runtime/  supervisor speaker run launcher child output writer parts logs logfile prober channel loopback standby voice preflight broker
            ask inputs provision servers container wsl
            watcher watched contents saves syntax users clash frames
            asyncio and I/O live here only
  inside/   boot channel imports gate wires warm loaded forkable forks beacon worker mingle ask listen threaded servers reloaders
            templates debug
            what runs inside the user's Python processes: standard library only
  redisd/   protocol numbers patterns ranking keyspace expiry blocking cursors client logins settings table server
            strings lists hashes sets ranges unions keys arguments pubsub transactions connections administration lua snapshot wire
            sorted_sets __main__
            the embedded server: a child process of its own, imported by nothing
  demo/     layout proof customer
            the demo shop
  cli/      group plain session up check absent apps outlook doctor demo look options provide later streams
            driven live ps change down why logs colour background run attach completion names report
            what a person types
"""

__version__ = "0.1.0"
