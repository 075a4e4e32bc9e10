import hashlib

from sdmad.detector.patients import PatientHashes


def test_patients_may_be_numbers_and_an_empty_id_is_nobody():
    hashes = PatientHashes.of([7, 8, ""])
    assert len(hashes.hashes) == 2
    ten = PatientHashes.of(range(10)).hashes
    assert ten == tuple(sorted(ten))
    assert hashes.contain(["7", 8, "", "9"]) == [True, True, False, False]


def test_a_saved_salt_and_hash_are_recognised():
    # What models on disk hold: PBKDF2-HMAC-SHA256 of the id as text, 2,000 rounds.
    salt = "00112233445566778899aabbccddeeff"
    digest = hashlib.pbkdf2_hmac("sha256", b"MRN-7", bytes.fromhex(salt), 2000).hex()
    assert PatientHashes(salt, (digest,)).contain(["MRN-7", "MRN-8"]) == [True, False]


def test_an_empty_id_is_nobody_even_if_it_was_hashed():
    salt = "00" * 16
    digest = hashlib.pbkdf2_hmac("sha256", b"", bytes.fromhex(salt), 2000).hex()
    assert PatientHashes(salt, (digest,)).contain([""]) == [False]
    assert PatientHashes.of(["", ""]).hashes == ()
    assert PatientHashes.of([]).contain(["a", "b"]) == [False, False]
    assert len(PatientHashes.of([]).salt) == 32
