"""A run's specification as the program holds it and as records store it."""

from dataclasses import fields

from benchmarks.records.spec import RunSpec, Spec


def test_the_stored_spec_has_the_fields_and_types_of_run_spec():
    ours = {field.name: str(field.type).removesuffix(" | None") for field in fields(RunSpec)}
    stored = {name: kind.__forward_arg__ for name, kind in Spec.__annotations__.items()}
    assert stored.pop("follows") == f"{ours.pop('follows')} | None"
    assert ours == stored
