"""pandas: sales by shop, and a function that is applied to every row."""

import numpy as np
import pandas as pd

rng = np.random.default_rng(2)
sales = pd.DataFrame(rng.random((2_000_000, 4)), columns=["shop", "price", "count", "day"])  # peak
daily = sales.head(200_000).groupby("shop").agg(price=("price", "mean"), count=("count", "sum"))


def discount(row):
    return row["price"] * 0.9 if row["count"] > 0.5 else row["price"]


prices = sales.head(120_000).apply(discount, axis=1)
print(daily.shape, prices.sum())
