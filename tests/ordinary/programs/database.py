"""sqlite3: a join without an index."""

import sqlite3

base = sqlite3.connect(":memory:")
base.execute("create table people (id integer, name text)")
base.execute("create table visits (person integer, day integer)")
base.executemany("insert into people values (?, ?)", ((n, f"name {n}") for n in range(2_000)))
base.executemany("insert into visits values (?, ?)", ((n * 37 % 2_000, n % 365) for n in range(6_000)))
rows = []
for day in range(4):
    found = base.execute(  # slowest
        "select p.name, count(*) from people p join visits v on +v.person = +p.id and v.day >= ? group by p.name",
        (day,),
    ).fetchall()
    rows.extend(found)
history = [{"name": name, "count": count, "day": n} for n in range(20) for name, count in rows[:2_000]]  # peak
print(len(rows), len(history))
