from django.db import migrations

PRODUCTS = [("Coffee beans", "12.90"), ("Filter paper", "3.20"), ("Grinder", "89.00"), ("Mug", "7.50")]


def fill(apps, schema_editor):
    Product = apps.get_model("catalog", "Product")
    for name, price in PRODUCTS:
        Product.objects.create(name=name, price=price, stock=8)


class Migration(migrations.Migration):
    dependencies = [("catalog", "0001_initial")]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
