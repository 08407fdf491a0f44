"""The daemon's side of the conversation with the spawner and the monitors.

channels.py (one conversation, and the thread that reads them all) ◀─ spawner.py (the process that forks
monitors)      records.py (what monitors write down).  Messages: `formats/spawner.py`.
"""

from carboy.engine.monitors.channels import Channel, ChannelLoop, Message, reconnect
from carboy.engine.monitors.records import Exit, exit_from_message, monitor_lives, read_exit
from carboy.engine.monitors.spawner import Spawner

__all__ = [
    "Channel",
    "ChannelLoop",
    "Exit",
    "Message",
    "Spawner",
    "exit_from_message",
    "monitor_lives",
    "read_exit",
    "reconnect",
]
