from celery.result import AsyncResult
from django import forms
from django.http import JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST

from catalog.models import Product
from orders.models import Order
from orders.tasks import reserve, send_receipt


class OrderForm(forms.ModelForm):
    quantity = forms.IntegerField(min_value=1, max_value=10)

    class Meta:
        model = Order
        fields = ["product", "quantity", "email"]


@require_POST
def place(request):
    """Saves the order, hands the work to Celery, and does not wait for it."""
    form = OrderForm(request.POST)
    if not form.is_valid():
        context = {"products": Product.objects.all(), "errors": form.errors}
        return render(request, "catalog/shelves.html", context, status=400)
    order = form.save()
    order.task_id = (reserve.s(order.pk) | send_receipt.s()).apply_async().id
    order.save(update_fields=["task_id"])
    return redirect("order", order.pk)


def show(request, number):
    return render(request, "orders/order.html", {"order": get_object_or_404(Order, pk=number)})


def result(request, number):
    """What has become of the task, for the script on the order's page."""
    task = AsyncResult(get_object_or_404(Order, pk=number).task_id)
    return JsonResponse({"state": task.state, "result": str(task.result) if task.ready() else ""})
