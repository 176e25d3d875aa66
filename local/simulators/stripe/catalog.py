"""The catalogue: products and prices. Source: https://docs.stripe.com/api/products."""

from local.simulators.stripe.errors import invalid_request
from local.simulators.stripe.intents import merge_metadata
from local.simulators.stripe.objects import new, now
from local.simulators.stripe.state import Call, Object, State

_PRODUCT = ("active", "description", "images", "name", "tax_code", "unit_label", "url")


def create_product(state: State, call: Call) -> Object:
    given = {name: call.params[name] for name in _PRODUCT if name in call.params}
    product = new(
        "product",
        **({"active": True, "images": []} | given),
        marketing_features=[],
        metadata=call.params.get("metadata") or {},
        type="service",
        updated=now(),
    )
    state.put(call.account, product)
    state.emit(call.account, "product.created", product)
    return product


def update_product(state: State, call: Call, product_id: str) -> Object:
    product = state.get(call.account, "product", product_id)
    merge_metadata(product, call.params)
    product |= {name: call.params[name] for name in _PRODUCT if name in call.params}
    product["updated"] = now()
    state.emit(call.account, "product.updated", product)
    return product


def create_price(state: State, call: Call) -> Object:
    params = call.params
    product = params.get("product")
    if product:
        state.get(call.account, "product", product, "product")
    elif "product_data" in params:
        data = Call(account=call.account, params=dict(params["product_data"]))
        product = create_product(state, data)["id"]
    else:
        raise invalid_request(
            "Missing required param: product.", param="product", code="parameter_missing"
        )
    recurring = params.get("recurring")
    price = new(
        "price",
        active=params.get("active", True),
        billing_scheme="per_unit",
        currency=params["currency"].lower(),
        lookup_key=params.get("lookup_key"),
        metadata=params.get("metadata") or {},
        nickname=params.get("nickname"),
        product=product,
        recurring={"interval_count": 1, "usage_type": "licensed"} | recurring
        if recurring
        else None,
        tax_behavior=params.get("tax_behavior", "unspecified"),
        type="recurring" if recurring else "one_time",
        unit_amount=params.get("unit_amount"),
        unit_amount_decimal=str(params["unit_amount"]) if "unit_amount" in params else None,
    )
    state.put(call.account, price)
    state.emit(call.account, "price.created", price)
    return price


def update_price(state: State, call: Call, price_id: str) -> Object:
    price = state.get(call.account, "price", price_id)
    merge_metadata(price, call.params)
    for name in ("active", "lookup_key", "nickname", "tax_behavior"):
        if name in call.params:
            price[name] = call.params[name]
    state.emit(call.account, "price.updated", price)
    return price
