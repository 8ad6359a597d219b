"""The emulated sign-in service, by boto3's own client for SSO OIDC."""

import json
import urllib.request

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from conftest import EMULATOR

DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
START_URL = "https://view.awsapps.com/start"


@pytest.fixture
def oidc():
    return boto3.client(
        "sso-oidc",
        endpoint_url=EMULATOR,
        region_name="us-east-1",
        config=Config(signature_version=UNSIGNED, retries={"total_max_attempts": 1}),
    )


def set_up(**settings):
    request = urllib.request.Request(
        f"{EMULATOR}/_emulator/sign-in", data=json.dumps(settings).encode(), method="POST"
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert reply.status == 200


@pytest.fixture
def asked(oidc):
    """A code that waits, and what it is asked for with."""

    def begin(*polls):
        set_up(polls=polls)
        known = oidc.register_client(clientName="test", clientType="public")
        client = {name: known[name] for name in ("clientId", "clientSecret")}
        device = oidc.start_device_authorization(**client, startUrl=START_URL)
        assert device["userCode"] in device["verificationUriComplete"]
        return client | {"grantType": DEVICE, "deviceCode": device["deviceCode"]}

    yield begin
    set_up()


def test_a_code_is_pending_then_granted_and_the_token_renewed_once(oidc, asked):
    asked = asked("authorization_pending", "slow_down")
    with pytest.raises(oidc.exceptions.AuthorizationPendingException):
        oidc.create_token(**asked)
    with pytest.raises(oidc.exceptions.SlowDownException):
        oidc.create_token(**asked)
    token = oidc.create_token(**asked)
    assert token["tokenType"] == "Bearer" and token["expiresIn"] > 0
    client = {name: asked[name] for name in ("clientId", "clientSecret")}
    renew = client | {"grantType": "refresh_token", "refreshToken": token["refreshToken"]}
    renewed = oidc.create_token(**renew)
    assert renewed["accessToken"] != token["accessToken"]
    with pytest.raises(oidc.exceptions.InvalidGrantException):
        oidc.create_token(**renew)


def test_each_refusal_is_the_services_own(oidc, asked):
    for answer, raised in [
        ("expired_token", oidc.exceptions.ExpiredTokenException),
        ("access_denied", oidc.exceptions.AccessDeniedException),
        ("invalid_client", oidc.exceptions.InvalidClientException),
    ]:
        with pytest.raises(raised):
            oidc.create_token(**asked(answer))
    with pytest.raises(oidc.exceptions.InvalidClientException):
        oidc.start_device_authorization(clientId="x", clientSecret="y", startUrl=START_URL)
