from django.urls import path

from catalog import views as catalog
from orders import views as orders

urlpatterns = [
    path("", catalog.shelves, name="shelves"),
    path("healthz", catalog.healthz, name="healthz"),
    path("orders/", orders.place, name="place"),
    path("orders/<int:number>/", orders.show, name="order"),
    path("orders/<int:number>/result", orders.result, name="result"),
]
