//! What became of a segment that no manifest lists yet. Pure.
//!
//! A frame is begun only when the one before it is durable, and the first one of a segment only when the segment before it
//! is sealed. So what is not whole and the last of all is what a kill or a power cut left of a batch that nobody was told
//! of. What is not whole and not the last was acknowledged, and the log is not opened as if nothing had been.

/// What was found of a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Where the first frame begins that is not whole.
    pub(super) frames_end: u64,
    /// Where the frames end by the index behind them, if a whole one is there.
    pub(super) sealed_at: Option<u64>,
    /// Where behind their end a whole frame begins, if one does.
    pub(super) behind: Option<u64>,
    /// Whether a newer segment holds frames.
    pub(super) followed: bool,
}

/// What follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was ended, and all is there.
    Sealed,
    /// It was being written; what is not whole is to be cut off.
    Open,
    /// Something is not whole that was acknowledged.
    Damaged,
}

/// Judges a segment.
pub(super) fn judge(look: Look) -> Verdict {
    match look {
        Look { sealed_at: Some(end), frames_end, .. } if end == frames_end => Verdict::Sealed,
        Look { sealed_at: None, behind: None, followed: false, .. } => Verdict::Open,
        _ => Verdict::Damaged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_was_told_of_is_cut_off() {
        const END: u64 = 500;
        // Frames end, by the index behind them; a whole frame behind; frames in a newer segment.
        let cases = [
            (Some(END), None, false, Verdict::Sealed),
            (Some(END), None, true, Verdict::Sealed),
            (None, None, false, Verdict::Open),
            (None, None, true, Verdict::Damaged),
            (None, Some(700), false, Verdict::Damaged),
            (None, Some(700), true, Verdict::Damaged),
            (Some(900), None, false, Verdict::Damaged),
            (Some(900), Some(700), false, Verdict::Damaged),
        ];
        for (sealed_at, behind, followed, expected) in cases {
            let look = Look { frames_end: END, sealed_at, behind, followed };
            assert_eq!(judge(look), expected, "{look:?}");
        }
    }
}
