//! Which partition a key belongs to: murmur2 as Java's Kafka clients compute it. Pure.
//!
//! Every Kafka client that keeps Java's default puts a key into the same partition, so a stranger's events and ours
//! meet there. Arithmetic wraps, as Java's `int` does.

const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;
const R: u32 = 24;

/// The partition of a key among so many (at least one).
pub fn partition(key: &[u8], partitions: u32) -> u32 {
    // Java's `toPositive` clears the sign bit; it does not negate.
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

/// The hash itself, as Java's signed `int` bit for bit.
pub fn murmur2(data: &[u8]) -> u32 {
    let mut hash = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = word.iter().rev().fold(0, |k, byte| (k << 8) | u32::from(*byte));
        k = k.wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        hash ^= rest.iter().rev().fold(0, |k, byte| (k << 8) | u32::from(*byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_java() {
        for (key, expected) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), expected, "{key}");
        }
    }

    #[test]
    fn a_negative_hash_loses_its_sign_bit() {
        // -973932308 & 0x7fffffff = 1173551340.
        assert_eq!(partition(b"21", 7), 1_173_551_340 % 7);
        assert_eq!(partition(b"21", 1), 0);
    }
}
