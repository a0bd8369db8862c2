"""Answers in the background: submitted, looked at, cancelled."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from rest_framework import serializers, status
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from django_obc_ai.api.base import View
from django_obc_ai.api.fields import Dollars, Moment, Strict, Text, WholeNumber
from django_obc_ai.api.pages import Page, PageQuery, page_of
from django_obc_ai.api.schema import described
from django_obc_ai.models import Job
from django_obc_ai.services.jobs import JobHandle
from django_obc_ai.services.own_jobs import get_job, list_jobs
from django_obc_ai.services.text import TextService
from django_obc_ai.web.people import is_known, may

PERMISSION = "django_obc_ai.add_job"
_MONTH = 30 * 86_400


class Submission(Strict):
    """What is to be answered."""

    prompt = Text(trim_whitespace=False, help_text="The question or instruction.")
    deadline_seconds = WholeNumber(
        required=False, min_value=1, max_value=_MONTH, help_text="After so long it has failed."
    )
    delay_seconds = WholeNumber(
        required=False, min_value=0, max_value=_MONTH, help_text="It is not begun earlier."
    )


class JobItem(serializers.Serializer[Any]):
    """A job."""

    id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=Job.Status.values)
    created_at = Moment()
    finished_at = Moment(allow_null=True)


class JobPage(Page):
    """One page of one's own jobs, the last one first."""

    results = JobItem(many=True)


class Progress(serializers.Serializer[Any]):
    """How far a job is."""

    ahead = serializers.IntegerField(help_text="Jobs that are taken before it.")
    attempts = serializers.IntegerField(help_text="How often it was begun.")
    due_at = Moment(allow_null=True, help_text="When it is taken at the earliest.")
    started_at = Moment(allow_null=True)


class Result(serializers.Serializer[Any]):
    """The answer of a job, or why there is none."""

    success = serializers.BooleanField()
    text = serializers.CharField()
    error = serializers.CharField(allow_null=True, help_text="Category of a failure.")
    finish_reason = serializers.CharField()
    is_offline = serializers.BooleanField(help_text="No language model had a part in it.")
    tokens = serializers.IntegerField(source="tokens_used")
    cost_usd = Dollars(source="cost")


class JobDetail(serializers.Serializer[JobHandle]):
    """A job as it stands."""

    id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=Job.Status.values)
    is_ended = serializers.BooleanField()
    progress = Progress()
    result = Result(allow_null=True, help_text="null until it has ended.")


class MaySubmit(BasePermission):
    """People who may add jobs, and to whom these can belong."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return whether somebody may."""
        return is_known(request.user) and may(request.user, PERMISSION)


class JobsView(View):
    """One's own jobs."""

    def get_permissions(self) -> list[Any]:
        """Return who may: who logged in, and for a new one who has the permission, too."""
        is_new = self.request.method == "POST"
        return [IsAuthenticated(), *([MaySubmit()] if is_new else [])]

    @described("list_jobs", answer=JobPage, query=PageQuery, errors=[404])
    def get(self, request: Request) -> Response:
        """List one's own jobs."""
        return page_of(request, list_jobs(user=request.user).order_by("-created_at", "pk"), JobItem)

    @described("submit_job", answer=JobDetail, status=202, body=Submission, errors=[503])
    def post(self, request: Request) -> Response:
        """Have a prompt answered in the background; needs the permission to add jobs."""
        asked = Submission(data=request.data)
        asked.is_valid(raise_exception=True)
        handle = TextService().submit(user=request.user, **asked.validated_data)
        namespace = request.resolver_match.namespace if request.resolver_match else ""
        where = reverse(f"{namespace}:job", args=[handle.id])
        body, accepted = JobDetail(handle).data, status.HTTP_202_ACCEPTED
        return Response(body, status=accepted, headers={"Location": where})


class JobView(View):
    """One job."""

    permission_classes = (IsAuthenticated,)

    @described("read_job", answer=JobDetail, has_key=True)
    def get(self, request: Request, key: str) -> Response:
        """Say how far one of one's own jobs is, and what came of it."""
        return Response(JobDetail(get_job(key, user=request.user)).data)


class CancelView(View):
    """The end of a job."""

    permission_classes = (IsAuthenticated,)

    @described("cancel_job", answer=JobDetail, has_key=True, errors=[400, 413, 415])
    def post(self, request: Request, key: str) -> Response:
        """Cancel one of one's own jobs; one that has ended stays as it is."""
        handle = get_job(key, user=request.user)
        handle.cancel()
        return Response(JobDetail(handle).data)
