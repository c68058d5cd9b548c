"""csv and json of the standard library: read, convert, write."""

import csv
import io
import json

text = "id,name,price\n" + "\n".join(f"{n},name {n},{n * 7 % 1000 / 10}" for n in range(120_000))
rows = list(csv.DictReader(io.StringIO(text)))
for row in rows:
    row["price"] = float(row["price"])
out = json.dumps(rows, indent=1)  # slowest, peak
print(len(out))
