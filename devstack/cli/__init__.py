"""The commands. Each lives in a module of its own name and is imported when it is used, so that none pays for another.

`group` makes one program of them.
"""

COMMANDS = {
    "up": "Start everything in the Procfile and stay until Ctrl-C.",
    "down": "Stop the running stack, in order.",
    "start": "Start processes of it again.",
    "stop": "Stop some of its processes.",
    "restart": "Restart some of its processes.",
    "scale": "Change how many of each run: worker=3.",
    "wait": "Stay until everything, or what is named, is ready.",
    "why": "Say how a process came to be as it is.",
    "ps": "Show every process of the running stack, and why it is as it is.",
    "logs": "Show what the processes have said, and what they say next.",
    "attach": "Talk to the debugger of a process that is at a breakpoint().",
    "run": "Run a command in the environment of the stack.",
    "check": "Read the Procfile, .env and settings, and say what they mean. Starts no server.",
    "doctor": "Find, and end, what a killed `devstack up` left behind.",
    "completion": "Print the script with which a shell completes these words.",
    "report": "Write a file to attach to a bug report; passwords are masked.",
    "demo": "Create a small Django + Celery shop and run it.",
}


MODULES = dict.fromkeys(("start", "stop", "restart", "scale", "wait"), "change")
"""Those that do not live in a module of their own name."""
