import pytest

from sdmad.dicom_out import access
from sdmad.dicom_out.access import Credentials, checked_url, parse_query
from sdmad.errors import InputError

SECRET = "open sesame"


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch):
    for name in (access.USER, access.PASSWORD, access.TOKEN):
        monkeypatch.delenv(name, raising=False)


def test_credentials_are_given_once_and_whole(monkeypatch, tmp_path):
    monkeypatch.setenv(access.USER, "reader")
    with pytest.raises(InputError, match="set both"):
        Credentials.found("http://x")
    monkeypatch.setenv(access.PASSWORD, SECRET)
    monkeypatch.setenv(access.TOKEN, SECRET)
    with pytest.raises(InputError, match="given twice") as caught:
        Credentials.found("http://x")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["ftp://a", "a", "http://", f"http://u:{SECRET[:4]}@a/", "http://a?b=c", "http://a:99x"]
)
def test_an_address_that_is_none_is_not_repeated(url):
    with pytest.raises(InputError, match="must be an http") as caught:
        checked_url(url)
    assert SECRET[:4] not in str(caught.value)


@pytest.mark.parametrize("text", ["StudyDate", "=1", "StudyDate=", "Studydate=1", "a\nb=1"])
def test_a_query_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="--query"):
        parse_query([text])
