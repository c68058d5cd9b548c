"""duckdb: an aggregate over generated rows, in threads of the library."""

import duckdb

base = duckdb.connect()
base.execute("create table sales as select range % 1000 as shop, random() as price from range(2000000)")
best = []
for limit in range(12):
    best += base.execute(  # slowest
        "select shop, median(price), count(distinct price) from sales group by shop order by 2 limit ?", [limit + 1]
    ).fetchall()
print(len(best))
