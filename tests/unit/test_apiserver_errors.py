"""What an API server answers when it refuses: whole texts and whole documents, in the real one's words."""

import pytest

from fakekubelet.apiserver import api_error, faults, field_errors, kinds
from fakekubelet.apiserver.requests import Request

PODS = kinds.BY_PLURAL["", "pods"]
SLICES = kinds.BY_PLURAL["resource.k8s.io", "resourceslices"]


@pytest.mark.parametrize(
    ("error", "text", "reason"),
    [
        (field_errors.required("a.b"), "a.b: Required value", "FieldValueRequired"),
        (field_errors.required("a.b", "or else"), "a.b: Required value: or else", "FieldValueRequired"),
        (field_errors.wrong("a", {"x": "ü", "y": [1]}, "no"), 'a: Invalid value: {"x":"ü","y":[1]}: no', "FieldValueInvalid"),
        (field_errors.wrong("a", None, "no"), "a: Invalid value: null: no", "FieldValueInvalid"),
        (field_errors.forbidden("a", "not now"), "a: Forbidden: not now", "FieldValueForbidden"),
        (field_errors.duplicate("a[1]", "x"), 'a[1]: Duplicate value: "x"', "FieldValueDuplicate"),
        (field_errors.not_supported("a", "x", ("p", "q")), 'a: Unsupported value: "x": supported values: "p", "q"', "FieldValueNotSupported"),
        (field_errors.too_long("a", 5), "a: Too long: may not be more than 5 bytes", "FieldValueTooLong"),
        (field_errors.too_many("a", 2, 1), "a: Too many: 2: must have at most 1 item", "FieldValueTooMany"),
        (field_errors.too_many("a", 3, 2), "a: Too many: 3: must have at most 2 items", "FieldValueTooMany"),
        (field_errors.FieldError(field_errors.ErrorType.NOT_FOUND, "a", "x", "gone"), 'a: Not found: "x": gone', "FieldValueNotFound"),
    ],
)  # fmt: skip
def test_an_error_about_a_field_says_what_where_and_why(error, text, reason):
    assert (str(error), error.body, error.type.name_in_causes) == (text, text.partition(": ")[2], reason)


SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character "
    "(e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
NAME_PART = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or "
    "'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
IDENTIFIER = (
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or "
    "'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')"
)
A_KEY = f"a valid label key {NAME_PART} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"


@pytest.mark.parametrize(
    ("rule", "names", "texts"),
    [
        (field_errors.dns_label, ["a", "0", "a-b", "a" * 63], []),
        (field_errors.dns_label, ["a" * 64], ["must be no more than 63 characters"]),
        (field_errors.dns_label, ["", "-a", "a-", "A", "a_b", "ü", "a.-b", "a\n"], [LABEL]),
        (field_errors.dns_label, ["a.b", "a.b.c"], ["must not contain dots"]),
        (field_errors.dns_label, ["ü" * 32], ["must be no more than 63 characters", LABEL]),
        (field_errors.dns_subdomain, ["a", "a.b", "a-1.b-2.c", "a" * 253], []),
        (field_errors.dns_subdomain, ["a" * 254], ["must be no more than 253 characters"]),
        (field_errors.dns_subdomain, ["", ".a", "a.", "a..b", "A.b", "a.-b", "a/b"], [SUBDOMAIN]),
        (field_errors.qualified_name, ["a", "A_b.c-9", "a" * 63, "example.com/a", f"{'a' * 253}/b"], []),
        (field_errors.qualified_name, ["", "example.com/"], ["name part must be non-empty", f"name part {NAME_PART}"]),
        (field_errors.qualified_name, ["a" * 64, f"b/{'a' * 64}"], ["name part must be no more than 63 bytes"]),
        (field_errors.qualified_name, ["-a", "a b", "b/a."], [f"name part {NAME_PART}"]),
        (field_errors.qualified_name, ["/a"], ["prefix part must be non-empty"]),
        (field_errors.qualified_name, ["B/a", "b_c/a"], [f"prefix part {SUBDOMAIN}"]),
        (field_errors.qualified_name, [f"{'a' * 254}/b"], ["prefix part must be no more than 253 characters"]),
        (field_errors.qualified_name, ["a/b/c", "a/b/"], [A_KEY]),
        (field_errors.label_value, ["", "a", "A_b.c-9", "a" * 63], []),
        (field_errors.label_value, ["a" * 64], ["must be no more than 63 bytes"]),
        (field_errors.label_value, ["a b", "-a", "a.", "/"], [VALUE]),
        (field_errors.label_value, ["ü" * 32], ["must be no more than 63 bytes", VALUE]),
        (field_errors.c_identifier, ["a", "_", "A9_"], []),
        (field_errors.c_identifier, ["", "9a", "a-b", "a.b"], [IDENTIFIER]),
    ],
)  # fmt: skip
def test_a_name_is_refused_for_all_that_is_wrong_with_it(rule, names, texts):
    assert [list(rule(name)) for name in names] == [texts] * len(names)


def test_each_detail_becomes_an_error_about_the_same_field():
    errors = list(field_errors.all_wrong("a.b", "x", ["one", "two"]))

    assert errors == [field_errors.wrong("a.b", "x", "one"), field_errors.wrong("a.b", "x", "two")]


def status(code, reason, message, **details):
    return {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason,
        **({"details": details} if details else {}), "code": code,
    }  # fmt: skip


CHANGED = 'Operation cannot be fulfilled on {} "n": the {} in the precondition (1) does not match the {} in record (2). The object might have been {}'


@pytest.mark.parametrize(
    ("error", "document"),
    [
        (api_error.not_found(PODS, "n"), status(404, "NotFound", 'pods "n" not found', name="n", kind="pods")),
        (
            api_error.not_found(SLICES, "n"),
            status(404, "NotFound", 'resourceslices.resource.k8s.io "n" not found', name="n", group="resource.k8s.io", kind="resourceslices"),
        ),
        (api_error.no_such_path(), status(404, "NotFound", "the server could not find the requested resource")),
        (api_error.already_exists(PODS, "n"), status(409, "AlreadyExists", 'pods "n" already exists', name="n", kind="pods")),
        (
            api_error.conflict(PODS, "n", "it is old"),
            status(409, "Conflict", 'Operation cannot be fulfilled on pods "n": it is old', name="n", kind="pods"),
        ),
        (api_error.bad_request("no"), status(400, "BadRequest", "no")),
        (api_error.expired("old"), status(410, "Expired", "old")),
        (api_error.unauthorized(), status(401, "Unauthorized", "Unauthorized")),
        (
            api_error.precondition(PODS, "n", "UID", "1", "2"),
            status(409, "Conflict", CHANGED.format("Pod", "UID", "UID", "deleted and then recreated"), name="n", kind="pods"),
        ),
        (
            api_error.precondition(SLICES, "n", "ResourceVersion", "1", "2"),
            status(
                409, "Conflict", CHANGED.format("ResourceSlice.resource.k8s.io", "ResourceVersion", "ResourceVersion", "modified"),
                name="n", group="resource.k8s.io", kind="resourceslices",
            ),
        ),
        (
            api_error.invalid(PODS, "n", [field_errors.required("spec.a")]),
            status(
                422, "Invalid", 'Pod "n" is invalid: spec.a: Required value', name="n", kind="Pod",
                causes=[{"reason": "FieldValueRequired", "message": "Required value", "field": "spec.a"}],
            ),
        ),
        (
            api_error.invalid(SLICES, "n", [field_errors.required("a"), field_errors.required("a"), field_errors.forbidden("b", "no")]),
            status(
                422, "Invalid", 'ResourceSlice.resource.k8s.io "n" is invalid: [a: Required value, b: Forbidden: no]',
                name="n", group="resource.k8s.io", kind="ResourceSlice",
                causes=[
                    *2 * [{"reason": "FieldValueRequired", "message": "Required value", "field": "a"}],
                    {"reason": "FieldValueForbidden", "message": "Forbidden: no", "field": "b"},
                ],
            ),
        ),
        (
            api_error.ApiError(429, "TooManyRequests", "wait", details={"name": "n"}, retry_after_s=0),
            status(429, "TooManyRequests", "wait", name="n", retryAfterSeconds=0),
        ),
    ],
)  # fmt: skip
def test_a_refusal_is_a_whole_status(error, document):
    assert error.document == document
    assert (error.code, error.reason, error.message, str(error)) == (
        document["code"], document["reason"], document["message"], document["message"],
    )  # fmt: skip


def test_a_status_without_a_reason_has_no_such_field():
    document = api_error.ApiError(500, "", "broken").document

    assert document == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "broken",
        "code": 500,
    }


@pytest.mark.parametrize(
    ("code", "reason", "message"),
    [
        (401, "Unauthorized", "Unauthorized"),
        (403, "Forbidden", "forbidden: a fault that is played"),
        (409, "Conflict", "Operation cannot be fulfilled: a fault that is played"),
        (429, "TooManyRequests", "Too many requests, please try again later."),
        (503, "ServiceUnavailable", "the server is currently unable to handle the request"),
        (500, "InternalError", "Internal error occurred: a fault that is played"),
        (504, "InternalError", "Internal error occurred: a fault that is played"),
    ],
)
def test_a_fault_that_is_an_error_answers_in_the_words_of_its_code(code, reason, message):
    fault = faults.Fault(faults.Effect.ERROR, code=code, retry_after_s=7)

    assert fault.error().document == status(code, reason, message, retryAfterSeconds=7)
    assert fault.error().retry_after_s == 7


def test_a_fault_unless_it_says_more_is_an_internal_error_that_the_next_request_meets_once():
    fault = faults.Fault("error")

    assert fault.error().document == status(500, "InternalError", "Internal error occurred: a fault that is played")
    assert (fault.times, fault.met, fault.delay_s) == (1, 0, 0.0)


GET_POD, LIST_PODS, GET_SLICE = Request("get", PODS, "v1"), Request("list", PODS, "v1"), Request("get", SLICES, "v1")


@pytest.mark.parametrize(
    ("fault", "met"),
    [
        (faults.Fault("error"), [GET_POD]),
        (faults.Fault("error", times=2), [GET_POD, LIST_PODS]),
        (faults.Fault("error", times=None), [GET_POD, LIST_PODS, GET_SLICE, GET_POD]),
        (faults.Fault("error", times=0), []),
        (faults.Fault("error", times=None, verbs=frozenset({"list", "watch"})), [LIST_PODS]),
        (faults.Fault("error", times=None, resources=frozenset({"pods"})), [GET_POD, LIST_PODS, GET_POD]),
        (
            faults.Fault("error", times=None, verbs=frozenset({"get"}), resources=frozenset({"resourceslices"})),
            [GET_SLICE],
        ),
    ],
)
def test_a_fault_is_met_by_the_requests_that_it_concerns_as_often_as_it_says(fault, met):
    playing = faults.Faults()
    assert playing.play(fault) is fault

    found = [request for request in (GET_POD, LIST_PODS, GET_SLICE, GET_POD) if playing.meet(request) is fault]

    assert [id(request) for request in found] == [id(request) for request in met]
    assert fault.met == len(met)


def test_of_several_faults_the_oldest_is_met_first_and_each_can_be_ended():
    playing = faults.Faults()
    first, second, third = (playing.play(faults.Fault("slow", times=None)) for _ in range(3))

    assert playing.meet(GET_POD) is first
    playing.stop(first)
    assert playing.meet(GET_POD) is second
    playing.stop(third)
    assert playing.meet(GET_POD) is second
    playing.play(third)
    playing.stop()
    assert playing.meet(GET_POD) is None
    assert (first.met, second.met, third.met) == (1, 2, 0)


def test_an_effect_that_there_is_not_is_refused_when_it_is_to_be_played():
    with pytest.raises(ValueError, match="'sulk' is not a valid Effect"):
        faults.Faults().play(faults.Fault("sulk"))


def test_an_effect_may_be_named_by_its_word():
    assert [
        faults.Faults().play(faults.Fault(word)).effect for word in ("error", "slow", "gone", "cut", "lost")
    ] == list(faults.Effect)
