from sdmad.dicom_out.manifest import Done, Manifest


def test_what_one_server_has_another_lacks():
    manifest = Manifest(None)
    manifest.add(Done("1.2", "m", "1", "1.1", "http://a", (), {}))
    assert manifest.knows("1.2", "m", "http://a")
    assert manifest.knows("1.2", "m", "")
    assert not manifest.knows("1.2", "m", "http://b")
    assert not manifest.knows("1.2", "n", "")
