"""A log file is read, parsed with a regular expression, and counted."""

import random
import re
import tempfile
from collections import Counter

PATTERN = re.compile(r"^(\S+) - (\S+) \[([^\]]+)\] \"(GET|POST) ([^ \"]+)[^\"]*\" (\d+) (\d+)(?:.*?)(\d+)ms$")

with tempfile.NamedTemporaryFile("w+", suffix=".log") as file:
    draw = random.Random(4)
    for number in range(20_000):
        file.write(
            f"10.0.0.{number % 256} - bob [12/Mar/2026:10:{number % 60:02d}] "
            f'"GET /items/{draw.randrange(10**6)} HTTP/1.1" 200 {number} "-" "agent/1.0 (X11; Linux)" 12ms\n'
        )
    file.seek(0)
    lines = file.read().splitlines() * 10
    statuses, seen = Counter(), {}
    for line in lines:
        match = PATTERN.match(line)  # slowest
        statuses[match[6]] += 1
print(statuses)
