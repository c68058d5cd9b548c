"""A Django project in one file: an N+1, duplicates, savepoints, a failed INSERT, raw SQL; on any database.

Run as a script (`shop.py script`), through `manage.py test` (`shop.py test`), and by pytest (pytest-django).
"""

import json
import os
import sys

from django.conf import settings

if not settings.configured:
    if os.environ.get("SHOP_MYSQL"):
        import pymysql

        pymysql.version_info = (2, 2, 1, "final", 0)
        pymysql.install_as_MySQLdb()
    settings.configure(
        DEBUG=False,
        SECRET_KEY="x",
        USE_TZ=True,
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
        DATABASES={"default": json.loads(os.environ["SHOP_DATABASE"])},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        MIGRATION_MODULES={"auth": None, "contenttypes": None},
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    )
    import django

    django.setup()

import rscalene
from django.contrib.auth.models import Group, User
from django.db import IntegrityError, connection, transaction
from django.test import TestCase


def fill():
    groups = [Group.objects.create(name=f"g{number}") for number in range(3)]
    for number in range(50):
        User.objects.create_user(f"u{number}", password="p").groups.add(groups[number % 3])


@transaction.atomic
def visit(count):
    users = User.objects.filter(is_active=True).order_by("id")[:count]
    total = 0
    for user in users:  # cause
        total += len(list(user.groups.all()))  # n+1
    User.objects.filter(username__in=["u1", "u2"]).update(first_name="s3cret")  # update
    return total


def measure():
    with rscalene.queries() as q:
        assert visit(30) == 30
        try:
            with transaction.atomic():
                User.objects.create(username="u0")  # failed
        except IntegrityError:
            pass
        with connection.cursor() as cursor:
            cursor.execute("select count(*) from auth_user where username <> 's3cret' and id in (1, 2)")  # raw
            cursor.fetchall()
        for _ in range(6):
            User.objects.get(username="u1")  # duplicate
    with open(__file__) as file:
        lines = file.read().splitlines()
    found = {}
    for statement in q.statements:
        if statement.place.file != os.path.abspath(__file__):
            continue
        marker = lines[statement.place.line - 1].rpartition("# ")[2]
        if not statement.transaction:
            found[marker] = [statement.count, statement.rows, statement.errors]
    return {
        "count": q.count,
        "found": found,
        "findings": [[one.kind, one.count, lines[one.place.line - 1].rpartition("# ")[2]] for one in q.findings],
        "cause": [lines[one.cause.line - 1].rpartition("# ")[2] for one in q.n_plus_one],
        "words": sum("SAVEPOINT" in statement.text.upper() for statement in q.statements),
        "text": q.text() + q.text(style="log"),
    }


def report(found):
    with open(os.environ["SHOP_REPORT"], "w") as file:
        json.dump(found, file)


class ShopTests(TestCase):
    @classmethod
    def setUpTestData(cls):
        fill()

    def test_shop(self):
        report(measure())


if __name__ == "__main__":
    if sys.argv[1] == "script":
        from django.test.utils import get_runner, setup_test_environment

        setup_test_environment()
        runner = get_runner(settings)(verbosity=0, interactive=False)
        databases = runner.setup_databases()
        fill()
        with transaction.atomic():  # as a TestCase is inside of a transaction
            report(measure())
        runner.teardown_databases(databases)
    else:
        from django.core.management import execute_from_command_line

        sys.modules["shop"] = sys.modules["__main__"]
        execute_from_command_line([sys.argv[0], "test", "--noinput", "shop"])
