"""The pure part: what a stack is, what can happen to it, and what to do then. No asyncio, os, time, socket, subprocess here."""
