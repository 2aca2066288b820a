from django.db import models

from catalog.models import Product


class Order(models.Model):
    product = models.ForeignKey(Product, on_delete=models.PROTECT)
    quantity = models.PositiveIntegerField(default=1)
    email = models.EmailField()
    placed_at = models.DateTimeField(auto_now_add=True)
    reserved = models.BooleanField(null=True)
    task_id = models.CharField(max_length=36, blank=True)

    def __str__(self):
        return f"{self.quantity} × {self.product}"

    @property
    def total(self):
        return self.quantity * self.product.price
