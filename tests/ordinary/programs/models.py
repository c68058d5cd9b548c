"""pydantic: rows are validated."""

from pydantic import BaseModel, field_validator


class Item(BaseModel):
    id: int
    name: str
    price: float

    @field_validator("name")
    @classmethod
    def strip(cls, value):
        return " ".join(part.capitalize() for part in value.replace("-", " ").split())  # slowest


rows = [{"id": str(n), "name": f" a name of item {n} " * 8, "price": "1.5"} for n in range(25_000)]
items = [Item.model_validate(row) for row in rows]  # peak
print(len(items))
