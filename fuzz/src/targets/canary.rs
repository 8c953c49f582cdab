//! A mistake that bytes at random make once in millions of tries, and that is found at once by whoever watches the branches.

/// Fails for one word, letter by letter.
pub(crate) fn run(data: &[u8]) {
    if data.first() == Some(&b'e') && data.get(1) == Some(&b'v') && data.get(2) == Some(&b'h') {
        let planted = data.get(3).is_some_and(u8::is_ascii_digit);
        assert!(!planted, "this mistake is planted: the harness works");
    }
}
