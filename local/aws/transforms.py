"""The parameters of a stack, as the SAM transform reads them."""

from typing import Any

from ministack.services.cloudformation import changesets, engine, handlers


def tell_sam_the_parameters() -> None:
    """Gap: what SAM itself resolves has the parameters' defaults, whatever the stack was given.

    Of an HttpApi that is all of CorsConfiguration. On AWS a transform gets the evaluated values
    (CloudFormation user guide, "Create a CloudFormation macro definition", event mapping).
    """
    transform = engine._apply_transforms

    def transform_with_values(template: dict[str, Any], given: Any = None, old: Any = None) -> Any:
        declared = template.get("Parameters")
        if not declared:
            return transform(template, given, old)
        values = engine._transform_parameters(template, given, old)
        known = {
            name: {**one, "Default": values[name]} if name in values else one
            for name, one in declared.items()
        }
        result = transform({**template, "Parameters": known}, given, old)
        result["Parameters"] = declared
        return result

    for module in (engine, handlers, changesets):
        module._apply_transforms = transform_with_values
