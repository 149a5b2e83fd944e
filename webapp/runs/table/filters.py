"""What the table of runs can be narrowed down by; the page's filter bar, the API's parameters and their schema are this one class."""

import operator
from datetime import UTC, datetime
from functools import reduce
from typing import Any

import django_filters
from django import forms
from django.core.validators import MaxLengthValidator
from django.db.models import Q, QuerySet
from django_filters.fields import IsoDateTimeField

from webapp.api.parameters import flag_of, whole_number_in
from webapp.runs.models import Run, State

LARGEST_NUMBER = 2**31 - 1
LONGEST = 200
"""Characters of a text that is filtered by."""
TEXT = {"validators": [MaxLengthValidator(LONGEST)]}


class FlagField(forms.Field):
    """Yes, no, or nothing; Django's own field takes what it does not know as nothing."""

    def to_python(self, value: Any) -> bool | None:
        try:
            return None if value in (None, "") else flag_of(str(value))
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None


class MomentField(IsoDateTimeField):
    """A date and time in universal time, as the database takes it: PostgreSQL knows no zone that is 16 hours or more from it."""

    def clean(self, value: Any) -> datetime | None:
        moment: datetime | None = super().clean(value)
        try:
            return None if moment is None else moment.astimezone(UTC)
        except OverflowError:
            raise forms.ValidationError(f"must be in the years 1 to 9999 of universal time; got {value!r:.80}.") from None


class Moment(django_filters.IsoDateTimeFilter):
    field_class = MomentField


class Flag(django_filters.Filter):
    field_class = FlagField


class TextList(django_filters.BaseInFilter, django_filters.CharFilter):
    """Several words with commas between them."""


class RunFilter(django_filters.FilterSet):
    """All that are given must hold; of several states, methods or tasks any one; of several tags each one."""

    state = django_filters.MultipleChoiceFilter(choices=State.choices, help_text="One or more states.")
    method = TextList(field_name="method_id", lookup_expr="in", help_text="One or more ids of methods, with commas between them.", **TEXT)
    task = TextList(field_name="task_id", lookup_expr="in", help_text="One or more ids of tasks, with commas between them.", **TEXT)
    tag = TextList(method="with_tags", help_text="Tags that a run has all of, with commas between them.", **TEXT)
    q = django_filters.CharFilter(
        method="with_words", help_text="Words that its name, notes, tags, method or id hold, or its number: `#12`.", **TEXT
    )
    created_after = Moment(field_name="created_at", lookup_expr="gte", help_text="A date and time, ISO 8601.")
    created_before = Moment(field_name="created_at", lookup_expr="lt", help_text="A date and time, ISO 8601.")
    group = django_filters.CharFilter(field_name="config_hash", help_text="The config hash of a group of seeds.", **TEXT)
    trash = Flag(method="in_trash", help_text="Only what is in the trash; without it, only what is not.")

    class Meta:
        model = Run
        fields = ()

    def with_tags(self, runs: QuerySet[Run], name: str, tags: list[str]) -> QuerySet[Run]:
        return runs.filter(tags__contains=tags)

    def with_words(self, runs: QuerySet[Run], name: str, text: str) -> QuerySet[Run]:
        for word in text.split()[:10]:
            number = whole_number_in(word.removeprefix("#"), most=LARGEST_NUMBER)
            places = (
                Q(name__icontains=word),
                Q(notes__icontains=word),
                Q(tags__contains=[word]),
                Q(method__id__icontains=word),
                Q(pk__icontains=word),
                *([] if number is None else [Q(number=number)]),
            )
            runs = runs.filter(reduce(operator.or_, places))
        return runs

    def in_trash(self, runs: QuerySet[Run], name: str, value: bool) -> QuerySet[Run]:
        return runs.filter(deleted_at__isnull=not value)
