from django.http import HttpResponse
from django.shortcuts import render

from catalog.models import Product


def shelves(request):
    return render(request, "catalog/shelves.html", {"products": Product.objects.all()})


def healthz(request):
    """200 when the database answers and is migrated."""
    return HttpResponse(f"ok, {Product.objects.count()} products\n", content_type="text/plain")
