#!/usr/bin/env python3
# fleet_routing -- what routing by known beginnings is worth, on a trace of requests (form: tests/fleet/routing_tool.c;
# Mooncake's synthetic one, https://github.com/kvcache-ai/Mooncake, FAST25-release/traces). Usage: fleet_routing.py TRACE
import os
import subprocess
import sys

SHAPES = ((2, 4000, 0.8), (8, 2000, 0.8), (8, 2000, 1.2), (4, 8000, 1.2), (16, 1000, 1.2))

if len(sys.argv) != 2:
    sys.exit("usage: fleet_routing.py TRACE")
tool = os.path.join(os.environ.get("B", "build"), "tests/fleet/routing_tool")
if not os.path.exists(tool):
    sys.exit(f"{tool} is not there: make {tool}")
for workers, blocks, load in SHAPES:
    subprocess.run([tool, sys.argv[1], str(workers), str(blocks), str(load)], check=True)
