"""Paths of resources and the meaning of an API server's answers."""

from __future__ import annotations

import pytest

from kubeapi import errors
from kubeapi.resources import NODES, PODS, RESOURCE_CLAIMS, RESOURCE_SLICES


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (NODES.path(), "/api/v1/nodes"),
        (NODES.path("n", subresource="status"), "/api/v1/nodes/n/status"),
        (PODS.path(), "/api/v1/pods"),
        (PODS.path(namespace="default"), "/api/v1/namespaces/default/pods"),
        (PODS.path("a/b?c", namespace="x"), "/api/v1/namespaces/x/pods/a%2Fb%3Fc"),
        (RESOURCE_SLICES.path("s"), "/apis/resource.k8s.io/v1/resourceslices/s"),
        (RESOURCE_CLAIMS.path("c", namespace="n"), "/apis/resource.k8s.io/v1/namespaces/n/resourceclaims/c"),
    ],
)
def test_paths_are_those_of_the_server(path, expected):
    assert path == expected


@pytest.mark.parametrize(
    "make",
    [
        lambda: PODS.path("p"),
        lambda: NODES.path("n", namespace="x"),
        lambda: NODES.path(subresource="status"),
        lambda: NODES.path(".."),
    ],
)
def test_what_can_be_no_path_is_an_error(make):
    with pytest.raises(ValueError, match=r"."):
        make()


def test_an_object_gets_its_kind_and_keeps_its_own():
    assert NODES.complete({"metadata": {}}) == {"apiVersion": "v1", "kind": "Node", "metadata": {}}
    assert RESOURCE_SLICES.complete({"apiVersion": "x", "kind": "Y"}) == {"apiVersion": "x", "kind": "Y"}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, errors.BadRequestError),
        (401, errors.UnauthorizedError),
        (403, errors.ForbiddenError),
        (404, errors.NotFoundError),
        (409, errors.ConflictError),
        (410, errors.GoneError),
        (422, errors.BadRequestError),
        (418, errors.StatusError),
        (429, errors.UnavailableError),
        (500, errors.UnavailableError),
        (503, errors.UnavailableError),
    ],
)
def test_a_code_says_what_a_caller_would_do(code, kind):
    error = errors.from_status({"message": "no", "reason": "Why"}, code=code)

    assert type(error) is kind
    assert "no" in str(error)


def test_the_server_says_how_long_to_wait():
    assert errors.from_status({}, code=429, retry_after="3").retry_after_s == 3
    assert errors.from_status({"details": {"retryAfterSeconds": 2}}, code=503).retry_after_s == 2
    assert errors.from_status({}, code=503, retry_after="Wed, 21 Oct 2026 07:28:00 GMT").retry_after_s is None
    assert errors.from_status({"details": "rubbish", "message": None}, code=503).retry_after_s is None


def test_only_429_surely_had_no_effect():
    assert not errors.from_status({}, code=429).may_have_acted
    assert errors.from_status({}, code=500).may_have_acted
