"""Runs one scenario against a broker, or lists them all.

    python paho list
    python paho SCENARIO HOST PORT VERSION PREFIX [foreign]
"""

import os
import sys
import threading
import traceback

import delivery
import message_properties
import retained
import sessions
import shared
import subscriptions
import wills
from harness import Context

SCENARIOS = {}
for module in (delivery, retained, wills, sessions, shared, subscriptions, message_properties):
    for name, value in vars(module).items():
        if callable(value) and getattr(value, "__module__", "") == module.__name__:
            if not name.startswith("_"):
                SCENARIOS[name] = value


def main(arguments):
    if arguments == ["list"]:
        print("\n".join(sorted(SCENARIOS)))
        return 0
    name, host, port, version, prefix, *rest = arguments
    context = Context(host, int(port), version, prefix, foreign="foreign" in rest)
    # A callback that fails would otherwise end its thread and leave the scenario waiting.
    threading.excepthook = lambda hook: traceback.print_exception(hook.exc_value)
    try:
        SCENARIOS[name](context)
    except Exception as failure:
        traceback.print_exc()
        print(f"\n{name}, MQTT {version}: {failure}", file=sys.stderr)
        return 1
    return 0


code = main(sys.argv[1:])
sys.stdout.flush()
sys.stderr.flush()
# Without a wait for paho's threads, each of which would take a second to notice.
os._exit(code)
