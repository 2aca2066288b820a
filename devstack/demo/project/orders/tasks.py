"""What happens to an order: its goods are taken from the shelf, then a receipt is sent."""

from celery import shared_task
from django.core.mail import send_mail
from django.db.models import F

from catalog.models import Product
from orders.models import Order


@shared_task
def reserve(number):
    """Queue `celery`. Takes the goods, if there are enough of them."""
    order = Order.objects.get(pk=number)
    enough = Product.objects.filter(pk=order.product_id, stock__gte=order.quantity)
    order.reserved = enough.update(stock=F("stock") - order.quantity) == 1
    order.save(update_fields=["reserved"])
    return number


@shared_task
def send_receipt(number):
    """Queue `emails` (CELERY_TASK_ROUTES). What it returns is shown on the order's page."""
    order = Order.objects.select_related("product").get(pk=number)
    text = f"{order} for {order.total} €" if order.reserved else f"Sorry, we do not have {order}"
    send_mail(f"Your order {number}", text, "shop@example.com", [order.email])
    return f"{text}, mail to {order.email}"
