"""Jinja: a page of many rows is rendered."""

from jinja2 import Template

PAGE = Template(
    "<table>{% for row in rows %}<tr>"
    "{% for cell in row %}<td>{{ cell | upper }}</td>{% endfor %}</tr>{% endfor %}</table>"
)
rows = [[f"cell {number} {column}" for column in range(10)] for number in range(4_000)]
pages = []
for _number in range(25):
    pages.append(PAGE.render(rows=rows))  # slowest, peak
print(sum(map(len, pages)))
