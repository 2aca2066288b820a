"""A Django project with eight apps and Celery, made to be saved again and again: what tests and the bench of the reload run.

project = reload_project.make(tmp_path / "shop", broker="redis://127.0.0.1:6380/0", web_port=8001)
project.save_tasks(1)      # orders/tasks.py: only workers import it
project.save_web(1)        # config/wsgi.py: only the web server imports it; GET /version/ answers the number
project.break_tasks("syntax")

Rule 1: each task writes into a ledger in Redis (`reload_ledger`) what it did: its id, the version of the code, its process, the time.
Rule 2: "heavy" is "light" with Django REST framework and pandas imported at module level, as far as they are installed (`imports`).
Rule 3: every version has a number of its own, so that nobody can be right by accident.
Rule 4: what only the web server imports is its WSGI application. A Celery worker runs Django's system checks, and these import the views
and, because of the admin, the middleware.
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

APPS = ("accounts", "basket", "billing", "catalog", "orders", "shipping", "stock", "support")
HEAVY = {"rest_framework": "Django REST framework", "pandas": "pandas"}
"""What the heavy project imports, and its name for people."""

SETTINGS = """
import os
from pathlib import Path
BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = "only-for-a-test"
DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
INSTALLED_APPS = [
    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.messages", "django.contrib.sessions",
    {installed}
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware", "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware", "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [{{
    "BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
    "OPTIONS": {{"context_processors": [
        "django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]}},
}}]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
CELERY_BROKER_URL = os.environ["CELERY_BROKER_URL"]
CELERY_RESULT_BACKEND = CELERY_BROKER_URL
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
"""

CELERY = """
import os
from celery import Celery
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""

LEDGER = """
import contextlib, os, time
import redis
client = redis.Redis.from_url(os.environ["LEDGER_URL"])

def write(what, task, version):
    client.rpush("ledger", f"{what} {task} {version} {time.monotonic()!r} {os.getpid()}")

@contextlib.contextmanager
def booked(task, version):
    write("start", task, version)
    yield
    write("end", task, version)
"""

URLS = """
from django.contrib import admin
from django.urls import include, path
urlpatterns = [path("admin/", admin.site.urls), {included}]
"""

MANAGE = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""

MODELS = """
from django.db import models

class {name}(models.Model):
    title = models.CharField(max_length=80)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    created = models.DateTimeField(auto_now_add=True)

class {name}Line(models.Model):
    owner = models.ForeignKey({name}, on_delete=models.CASCADE)
    number = models.PositiveIntegerField(default=1)

class {name}Note(models.Model):
    owner = models.ForeignKey({name}, on_delete=models.CASCADE)
    text = models.TextField(blank=True)
"""

ADMIN = """
from django.contrib import admin
from .models import {name}, {name}Line, {name}Note
admin.site.register([{name}, {name}Line, {name}Note])
"""

HEAVY_CODE = {
    "rest_framework": """
from rest_framework import serializers

class {name}Serializer(serializers.ModelSerializer):
    class Meta:
        model = {name}
        fields = "__all__"
""",
    "pandas": """
import pandas
FRAME = pandas.DataFrame({{"title": [], "price": []}})
""",
}

TASKS = """
from celery import shared_task
from .logic import total_of

@shared_task
def tidy(numbers):
    return total_of(numbers)
"""

LOGIC = """
from .models import {name}
{heavy}
def total_of(numbers):
    return sum(numbers)
"""

VIEWS = """
from django.http import HttpResponse
from .logic import total_of

def index(request):
    return HttpResponse(str(total_of([1, 2])))
"""

APP_URLS = """
from django.urls import path
from . import views
urlpatterns = [path("{place}", views.index)]
"""

SAVED_TASKS = """
import time
from celery import shared_task
from config.ledger import booked
from .logic import total_of
VERSION = {version}

@shared_task(bind=True, ignore_result=True)
def note(self, seconds=0.0):
    with booked(self.request.id, VERSION):
        time.sleep(seconds)

@shared_task(bind=True, ignore_result=True, acks_late=True)
def note_late(self, seconds=0.0):
    with booked(self.request.id, VERSION):
        time.sleep(seconds)

@shared_task(bind=True, ignore_result=True)
def again(self, seconds=0.0):
    # Its second run is a task of its own in the ledger.
    with booked(self.request.id + ".1" * bool(self.request.retries), VERSION):
        time.sleep(seconds)
    if not self.request.retries:
        raise self.retry(countdown=1.5)

@shared_task(bind=True)
def part(self, seconds=0.0):
    with booked(self.request.id, VERSION):
        time.sleep(seconds)
    return 1

@shared_task(bind=True)
def total(self, numbers):
    with booked(self.request.id, VERSION):
        return total_of(numbers)
"""

SAVED_WSGI = """
from django.core.wsgi import get_wsgi_application
VERSION = {version}
rest = get_wsgi_application()

def application(environ, start_response):
    if environ["PATH_INFO"] != "/version/":
        return rest(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(VERSION).encode()]
"""

BROKEN = {
    "syntax": "def broken(:\n",
    "import": "import no_such_module_anywhere\n",
    "hang": "import time\nwhile True: time.sleep(1)\n",
}
"""What makes orders/tasks.py unusable, by the name of the mistake."""


@dataclass(frozen=True)
class Project:
    path: Path
    broker: str
    ledger: str
    web_port: int
    imports: tuple[str, ...]
    """What of `HEAVY` it imports."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.web_port}/version/"

    def env(self) -> dict[str, str]:
        """What its processes need, whoever starts them."""
        port = {"PORT": str(self.web_port)} if self.web_port else {}
        return {"CELERY_BROKER_URL": self.broker, "LEDGER_URL": self.ledger, **port}

    def save_tasks(self, version: int) -> None:
        self._save("orders/tasks.py", SAVED_TASKS.format(version=version))

    def save_web(self, version: int) -> None:
        self._save("config/wsgi.py", SAVED_WSGI.format(version=version))

    def break_tasks(self, mistake: str, version: int) -> None:
        """Good code, with one of `BROKEN` at its end."""
        self._save("orders/tasks.py", SAVED_TASKS.format(version=version) + BROKEN[mistake])

    def save_settings(self, addition: str = "") -> None:
        self._save("config/settings.py", _settings(self.imports) + addition)

    def _save(self, name: str, text: str) -> None:
        """In place, as most editors do."""
        (self.path / name).write_text(text, "utf-8")


def make(
    path: Path, *, broker: str, weight: str = "light", web_port: int = 0, concurrency: int = 2, pool: str = "prefork"
) -> Project:
    """Write the project into `path`, with a Procfile: `worker` and, with a port, `web`. The ledger is another database there."""
    imports = tuple(name for name in HEAVY if weight == "heavy" and importlib.util.find_spec(name))
    project = Project(path, broker, f"{broker.rpartition('/')[0]}/9", web_port, imports)
    files = {
        "config/__init__.py": "from .celery import app as celery_app\n",
        "config/celery.py": CELERY,
        "config/settings.py": _settings(imports),
        "config/ledger.py": LEDGER,
        "config/urls.py": URLS.format(included=", ".join(f'path("", include("{app}.urls"))' for app in APPS)),
        "config/wsgi.py": SAVED_WSGI.format(version=0),
        "manage.py": MANAGE,
        "Procfile": f"worker: celery -A config worker --loglevel=INFO --pool={pool} --concurrency={concurrency}\n"
        + (f"web: python manage.py runserver 127.0.0.1:{web_port}\n" if web_port else ""),
        ".env": "".join(f"{name}={value}\n" for name, value in project.env().items()),
    }
    for app in APPS:
        name = app.capitalize()
        heavy = "".join(HEAVY_CODE[each].format(name=name) for each in imports)
        files |= {
            f"{app}/__init__.py": "",
            f"{app}/models.py": MODELS.format(name=name),
            f"{app}/admin.py": ADMIN.format(name=name),
            f"{app}/logic.py": LOGIC.format(name=name, heavy=heavy),
            f"{app}/tasks.py": SAVED_TASKS.format(version=0) if app == "orders" else TASKS,
            f"{app}/views.py": VIEWS,
            f"{app}/urls.py": APP_URLS.format(place=f"{app}/"),
        }
    for each, text in files.items():
        file = path / each
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.lstrip("\n"), "utf-8")
    if sys.prefix != sys.base_prefix:
        (path / ".venv").symlink_to(sys.prefix)
    return project


def _settings(imports: tuple[str, ...]) -> str:
    installed = [*APPS, *(name for name in imports if name == "rest_framework")]
    return SETTINGS.format(installed=", ".join(f'"{name}"' for name in installed)).lstrip("\n")
