"""The catalogue: products and prices. Source: https://docs.stripe.com/api/products."""

from local.simulators.stripe.errors import invalid_request
from local.simulators.stripe.intents import merge_metadata
from local.simulators.stripe.objects import new, now
from local.simulators.stripe.state import Call, Object, State, listed

MAX_LOOKUP_KEYS = 10
_PRODUCT = ("active", "description", "images", "name", "tax_code", "unit_label", "url")


def create_product(state: State, call: Call) -> Object:
    given = {name: call.params[name] for name in ("id", *_PRODUCT) if name in call.params}
    if state.find(call.account, "product", given.get("id")):
        raise invalid_request("Product already exists.", code="resource_already_exists")
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
    if price_id := call.params.get("default_price"):
        price = state.get(call.account, "price", price_id, "default_price")
        if price["product"] != product_id or not price["active"]:
            raise invalid_request(
                f"The price `{price_id}` is not an active price of this product.",
                param="default_price",
            )
        product["default_price"] = price_id
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
    _take_lookup_key(state, call)
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


def _take_lookup_key(state: State, call: Call, own: str = "") -> None:
    """One price has a lookup key; another gets it only where that is asked for."""
    key = call.params.get("lookup_key")
    for other in state.all(call.account, "price"):
        if not key or other["lookup_key"] != key or other["id"] == own:
            continue
        if not call.params.get("transfer_lookup_key"):
            raise invalid_request(
                f"A price (`{other['id']}`) already uses that lookup key.", param="lookup_key"
            )
        other["lookup_key"] = None


def list_prices(state: State, call: Call) -> Object:
    keys = call.params.pop("lookup_keys", None)
    found = listed(state, call, "price", ("active", "currency", "product", "type"))
    if keys is None:
        return found
    if len(keys) > MAX_LOOKUP_KEYS:
        raise invalid_request(f"At most {MAX_LOOKUP_KEYS} lookup keys", param="lookup_keys")
    # One price has a key at most, so that what is looked up is a page by itself.
    data = [p for p in state.all(call.account, "price") if p["lookup_key"] in keys]
    data = [p for p in data if p["active"] == call.params.get("active", p["active"])]
    return found | {"data": data, "has_more": False}


def update_price(state: State, call: Call, price_id: str) -> Object:
    price = state.get(call.account, "price", price_id)
    product = state.find(call.account, "product", price["product"])
    if call.params.get("active") is False and product and product["default_price"] == price_id:
        raise invalid_request(
            "This price cannot be archived because it is the default price of its product.",
            param="active",
        )
    _take_lookup_key(state, call, price_id)
    merge_metadata(price, call.params)
    for name in ("active", "lookup_key", "nickname", "tax_behavior"):
        if name in call.params:
            price[name] = call.params[name]
    state.emit(call.account, "price.updated", price)
    return price
