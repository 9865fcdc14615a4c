#!/usr/bin/env python3
"""Stands for a language model: writes an answer, token by token, as events. README.md beside this file."""

import json
import sys
import time

COUNT, PAUSE = 200, 0.03


def say(**event: object) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


for number in range(1, COUNT + 1):
    say(type="token", text=f"{number} " if number % 20 else f"{number}\n")
    time.sleep(PAUSE)
say(type="done")
