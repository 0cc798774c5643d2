"""Where the server is and who we are: kubeconfig files, a pod's service account, commands that print credentials."""

from __future__ import annotations

import base64
import json
import sys

import pytest
import yaml

from kubeapi import credentials, errors, incluster, kubeconfig
from kubeapi.access import Access, ExecPlugin


def write(path, *, current="", clusters=(), users=(), contexts=()):
    document = {
        "clusters": [{"name": name, "cluster": value} for name, value in dict(clusters).items()],
        "users": [{"name": name, "user": value} for name, value in dict(users).items()],
        "contexts": [{"name": name, "context": value} for name, value in dict(contexts).items()],
    }
    path.write_text(yaml.safe_dump({**document, **({"current-context": current} if current else {})}))
    return path


@pytest.fixture
def config(tmp_path):
    return write(
        tmp_path / "config",
        current="kind",
        clusters={"kind": {"server": "https://127.0.0.1:6443/"}, "far": {"server": "https://far"}},
        users={"admin": {"token": "t"}},
        contexts={
            "kind": {"cluster": "kind", "user": "admin"},
            "far": {"cluster": "far", "user": "admin", "namespace": "n"},
            "lost": {"cluster": "gone", "user": "admin"},
        },
    )


def test_the_current_context_is_taken_unless_another_is_named(config):
    assert kubeconfig.load([config]).server == "https://127.0.0.1:6443"
    assert kubeconfig.load([config], context="far") == Access("https://far", token="t", namespace="n", context="far")


def test_of_several_files_the_first_that_says_something_wins(tmp_path, config):
    first = write(tmp_path / "first", current="far", clusters={"far": {"server": "https://near"}})

    access = kubeconfig.find(environ={"KUBECONFIG": f"{first}:{tmp_path / 'missing'}:{config}"})

    assert (access.server, access.token) == ("https://near", "t")


def test_files_are_named_from_the_kubeconfig_that_names_them(tmp_path):
    folder = tmp_path / "sub"
    folder.mkdir()
    path = write(
        folder / "config",
        current="c",
        clusters={"c": {"server": "https://c", "certificate-authority": "ca.crt"}},
        users={"u": {"client-certificate": "/abs.crt", "client-key": "../key", "tokenFile": "token"}},
        contexts={"c": {"cluster": "c", "user": "u"}},
    )

    access = kubeconfig.load([path])

    assert access.ca == folder / "ca.crt"
    assert str(access.certificate) == "/abs.crt"
    assert access.key == folder / "../key"
    assert access.token_file == folder / "token"


def test_data_win_over_files(tmp_path):
    cluster = {
        "server": "https://c",
        "certificate-authority": "ca.crt",
        "certificate-authority-data": base64.b64encode(b"PEM").decode(),
    }
    path = write(tmp_path / "c", current="c", clusters={"c": cluster}, contexts={"c": {"cluster": "c"}})

    assert kubeconfig.load([path]).ca == b"PEM"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "is no YAML"),
        ("[]", "is no kubeconfig"),
        ("", "has no current-context"),
        ("current-context: x", "has no context 'x'; it has none"),
        ("contexts: 3\ncurrent-context: x", "contexts must be a list"),
        ("contexts: [{name: x}]\ncurrent-context: x", "wants cluster ''"),
    ],
)
def test_what_is_wrong_with_a_kubeconfig_is_said_with_its_name(tmp_path, text, complaint):
    path = tmp_path / "config"
    path.write_text(text)

    with pytest.raises(errors.AccessError) as raised:
        kubeconfig.load([path])

    assert str(path) in str(raised.value)
    assert complaint in str(raised.value)


@pytest.mark.parametrize(
    ("cluster", "user", "complaint"),
    [
        ({"server": "c:6443"}, {}, "must be an http or https URL"),
        ({}, {}, "must be an http or https URL"),
        ({"server": "https://c", "certificate-authority-data": "%"}, {}, "is no base64"),
        ({"server": "https://c"}, {"auth-provider": {"name": "gcp"}}, "auth-provider is no longer supported"),
        ({"server": "https://c"}, {"exec": {}}, None),
        ({"server": "https://c"}, {"exec": {"args": []}}, "exec has no command"),
        ({"server": "https://c"}, {"exec": {"command": "c", "env": ["A=B"]}}, "env of exec"),
    ],
)
def test_what_is_wrong_with_a_cluster_or_user_is_said(tmp_path, cluster, user, complaint):
    path = write(
        tmp_path / "c",
        current="c",
        clusters={"c": cluster},
        users={"u": user},
        contexts={"c": {"cluster": "c", "user": "u"}},
    )

    if complaint is None:
        assert kubeconfig.load([path]).exec_plugin is None
        return
    with pytest.raises(errors.AccessError, match=complaint):
        kubeconfig.load([path])


def test_a_missing_context_lists_those_that_there_are(config):
    with pytest.raises(errors.AccessError, match="no context 'nope'; it has far, kind, lost"):
        kubeconfig.load([config], context="nope")


def test_a_pod_reaches_its_own_server(tmp_path):
    (tmp_path / "token").write_text("t")
    (tmp_path / "namespace").write_text("fakehw\n")

    access = incluster.load({"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}, tmp_path)

    assert (access.server, access.namespace) == ("https://[fd00::1]:443", "fakehw")
    assert access.token_file == tmp_path / "token"


def test_no_pod_and_no_kubeconfig_is_one_clear_error(tmp_path):
    with pytest.raises(errors.AccessError, match="no way to a cluster"):
        kubeconfig.find(environ={"HOME": str(tmp_path)})


def test_secrets_are_not_shown():
    assert "secret" not in repr(Access("https://c", token="secret", key=b"secret"))
    assert "secret" not in repr(credentials.Presented({"Authorization": "Bearer secret"}, ssl=False))
    assert "secret" not in repr(credentials.Issued(token="secret", key=b"secret"))


async def test_a_token_file_is_read_again_after_a_while_and_when_it_was_refused(tmp_path):
    now = 0.0
    token = tmp_path / "token"
    token.write_text("first\n")
    source = credentials.Credentials(Access("http://c", token_file=token), clock=lambda: now)

    first = await source.current()
    token.write_text("second")
    assert await source.current() is first
    source.refuse(first)
    second = await source.current()
    token.write_text("third")
    source.refuse(first)  # somebody else's old one
    assert await source.current() is second
    now = credentials.REREAD_S + 1

    third = await source.current()

    bearers = [presented.headers["Authorization"] for presented in (first, second, third)]
    assert bearers == ["Bearer first", "Bearer second", "Bearer third"]


def plugin(tmp_path, *, status, count=None, **more):
    script = tmp_path / "plugin.py"
    script.write_text(
        "import json, os, sys\n"
        f"open({str(count or tmp_path / 'runs')!r}, 'a').write('run ')\n"
        "info = json.loads(os.environ['KUBERNETES_EXEC_INFO'])\n"
        f"status = {status!r}\n"
        "status = {**status, 'token': status.get('token') or info['spec']['cluster']['server'] + os.environ['WHO']}\n"
        "print(json.dumps({'apiVersion': info['apiVersion'], 'kind': 'ExecCredential', 'status': status}))\n"
    )
    return ExecPlugin(sys.executable, (str(script),), (("WHO", "me"),), provides_cluster_info=True, **more)


async def test_a_command_is_told_of_the_cluster_and_asked_once_until_it_is_refused(tmp_path):
    source = credentials.Credentials(Access("http://c", exec_plugin=plugin(tmp_path, status={})))

    first = await source.current()
    assert await source.current() is first
    source.refuse(first)
    await source.current()

    assert first.headers == {"Authorization": "Bearer http://cme"}
    assert (tmp_path / "runs").read_text() == "run run "


async def test_a_command_whose_token_has_expired_is_asked_again(tmp_path):
    expired = plugin(tmp_path, status={"token": "t", "expirationTimestamp": "2020-01-01T00:00:00Z"})
    source = credentials.Credentials(Access("http://c", exec_plugin=expired))

    await source.current()
    await source.current()

    assert (tmp_path / "runs").read_text() == "run run "


@pytest.mark.parametrize(
    ("printed", "complaint"),
    [
        (b"", "printed no ExecCredential"),
        (b"{}", "printed no ExecCredential"),
        (b'{"status": {}}', "printed neither a token nor"),
    ],
)
def test_a_command_that_prints_something_else_is_named(printed, complaint):
    with pytest.raises(errors.AccessError, match=f"cmd: {complaint}"):
        credentials.parse_issued(printed, command="cmd")


def test_the_time_a_token_expires_is_read_with_its_zone():
    printed = json.dumps({"status": {"token": "t", "expirationTimestamp": "1970-01-01T01:00:10+01:00"}})

    assert credentials.parse_issued(printed.encode(), command="c").expires_at == 10


async def test_a_command_that_fails_or_is_missing_is_named_with_what_it_said(tmp_path):
    with pytest.raises(errors.AccessError, match="ended with 3: no such user"):
        await credentials.issue(ExecPlugin("sh", ("-c", "echo no such user >&2; exit 3")), Access("http://c"))
    with pytest.raises(errors.AccessError, match="cannot be run: No such file or directory; get it there"):
        await credentials.issue(ExecPlugin(str(tmp_path / "no"), install_hint="get it there"), Access("http://c"))


def test_a_certificate_that_is_none_is_refused_in_plain_words():
    with pytest.raises(errors.AccessError, match="certificate authority cannot be used"):
        credentials.tls_context(b"rubbish", None, None)
    with pytest.raises(errors.AccessError, match="client certificate cannot be used"):
        credentials.tls_context(None, b"rubbish", b"rubbish")
