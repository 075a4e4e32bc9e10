from sdmad.detector.patients import PatientHashes


def test_patients_may_be_numbers_and_an_empty_id_is_nobody():
    hashes = PatientHashes.of([7, 8, ""])
    assert len(hashes.hashes) == 2
    assert hashes.contain(["7", 8, "", "9"]) == [True, True, False, False]
