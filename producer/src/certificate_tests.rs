use shared::outcome::Best;

use super::*;

/// The first bytes of the hash of `input[i] = i mod 251`, by length: the test vectors of the
/// BLAKE3 team (BLAKE3-team/BLAKE3, test_vectors/test_vectors.json).
const VECTORS: [(usize, &str); 3] = [
    (0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
    (1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"),
    (1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"),
];

#[test]
fn the_hash_is_blake3() {
    for (length, hash) in VECTORS {
        let input: Vec<u8> = (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let mut hasher = Hasher::default();
        input.chunks(16).for_each(|record| hasher.add(record));
        assert_eq!(hasher.hashed().blake3, hash);
    }
}

/// Records whose bytes are those of the vector of 1024: 64 survivors.
#[test]
fn survivors_are_hashed_as_little_endian_records() {
    let byte = |i: usize| u8::try_from(i % 251).unwrap();
    let word = |at: usize| u32::from_le_bytes([at, at + 1, at + 2, at + 3].map(byte));
    let survivors = (0..64).map(|i| 16 * i).map(|at| Survivor {
        seed: u64::from(word(at)) | u64::from(word(at + 4)) << 32,
        best: Best { matches: word(at + 8), skip: word(at + 12) },
        reverse: None,
    });
    let hashed = hash_survivors(survivors);
    assert_eq!(hashed, Hashed { count: 64, blake3: VECTORS[2].1.to_owned() });
    let none = hash_survivors([]);
    assert_eq!(none, Hashed { count: 0, blake3: VECTORS[0].1.to_owned() });
    let candidates: Vec<u64> = (0..128)
        .map(|i| 8 * i)
        .map(|at| u64::from(word(at)) | u64::from(word(at + 4)) << 32)
        .collect();
    assert_eq!(hash_candidates(&candidates), Hashed { count: 128, ..hashed });
}

#[test]
fn a_record_is_16_bytes_or_24_for_both() {
    let best = Best { matches: 0x0403_0201, skip: 0x0807_0605 };
    let reverse = Best { matches: 0x1413_1211, skip: 0x1817_1615 };
    let mut survivor = Survivor { seed: 0xA8A7_A6A5_A4A3_A2A1, best, reverse: None };
    let mut bytes: Vec<u8> = (0xA1..=0xA8).chain(1..=8).collect();
    assert_eq!(record(survivor), bytes);
    survivor.reverse = Some(reverse);
    bytes.extend(0x11..=0x18);
    assert_eq!(record(survivor), bytes);
}

fn sample() -> Certificate {
    let json = br#"{"version": 1, "run": "r", "request": {"kind": "sieve", "sieve": {"family":
        "pcg32", "direction": "forward", "mode": "fixed", "modulus": 1000, "draws": [7, 8],
        "advance": 0, "skips": {"lo": 0, "hi": 3}, "need": 2, "reverse_need": 2},
        "requested": {"start": 9223372036854775808, "end": 18446744073709551616},
        "engine": "auto"}, "coverage": [{"start": 9223372036854775808, "end":
        18446744073709551616}], "devices": [{"node": "n", "device": "cpu0", "model": "m",
        "engine": "scan", "outcomes": 3, "seeds": 9223372036854775808, "near_misses":
        {"count": 5, "sum": 18446744073709551615}, "seconds": 1.5}], "survivors": {"count": 0,
        "blake3": "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"},
        "producer": "0.1.0", "opened_at": 1.5, "ended_at": null, "more": [1]}"#;
    Certificate::from_json(json).unwrap()
}

#[test]
fn a_certificate_comes_back_from_its_json() {
    let certificate = sample();
    let json = serde_json::to_vec_pretty(&certificate).unwrap();
    assert_eq!(Certificate::from_json(&json).unwrap(), certificate);
    assert_eq!(certificate.requested().unwrap().len(), 1 << 63);
    assert!(certificate.covered().unwrap().holes(certificate.requested().unwrap()).is_empty());
}

#[test]
fn a_certificate_that_makes_no_sense_is_refused() {
    let refused = |change: &dyn Fn(&mut Certificate), part: &str| {
        let mut certificate = sample();
        change(&mut certificate);
        let json = serde_json::to_vec(&certificate).unwrap();
        let message = Certificate::from_json(&json).unwrap_err();
        assert!(message.contains(part) && !message.contains('\n'), "{message}");
    };
    refused(&|c| c.version = 2, "upgrade RigQueue");
    refused(&|c| c.request.sieve.draws[0] = 1000, "draw 1000");
    refused(&|c| c.request.sieve.need = 3, "3 matches");
    refused(&|c| c.request.kind = "reverse_sieve".to_owned(), "needs a list");
    refused(&|c| c.request.kind = "verify".to_owned(), "'verify'");
    refused(&|c| c.request.candidates = Some(c.survivors.clone()), "does not have");
    refused(&|c| c.request.requested.end += 1, "no range");
    refused(&|c| c.request.requested.end = 5, "no range");
    refused(&|c| c.request.sieve.family = shared::families::Family::Mt19937, "not within");
    refused(&|c| c.coverage[0].end = 5, "no range");
    refused(&|c| c.survivors.blake3.truncate(63), "no BLAKE3");
    refused(&|c| c.survivors.blake3.replace_range(0..1, "A"), "no BLAKE3");
    let candidates = |c: &mut Certificate, start: u64, end: u128| {
        c.request.kind = "reverse_sieve".to_owned();
        c.request.candidates = Some(Hashed { count: 9, ..c.survivors.clone() });
        c.request.requested = HalfOpen { start, end };
    };
    refused(&|c| candidates(c, 1, 9), "not within");
    refused(&|c| candidates(c, 0, 8), "not within");
    let mut certificate = sample();
    candidates(&mut certificate, 0, 9);
    Certificate::from_json(&serde_json::to_vec(&certificate).unwrap()).unwrap();
    for text in ["", "[]", "{}", "{\"version\": -1}", "{\"version\": 1}", "nul"] {
        assert!(!Certificate::from_json(text.as_bytes()).unwrap_err().contains('\n'));
    }
}
