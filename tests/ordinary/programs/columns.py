"""polars: a join of two tables, many times."""

import polars as pl

orders = pl.DataFrame({"id": range(400_000), "customer": [n * 7919 % 50_000 for n in range(400_000)]})
amounts = orders.with_columns((pl.col("id") * 31 % 1009).alias("amount"))
total = 0
for _ in range(12):
    joined = orders.join(amounts, on="customer", how="inner")  # slowest
    total += joined.height
print(total)
