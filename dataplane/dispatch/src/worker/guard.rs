//! A panic over one record is that record's affair: it ends what was done for it, and neither the worker nor its other records.
//!
//! A library of ours, or ours, has a mistake then. Left alone it would end the worker, which would begin again, read the
//! same record and end again: one event would stop its Processor for good. What is caught here becomes a dead letter.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use futures_util::FutureExt as _;

/// What the hook that prints panics said of it already; here it goes with the event.
type Panicked = Box<dyn Any + Send>;

/// Runs something; what it says of itself if it panics. It must leave nothing half done that outlives it.
pub(super) fn within<T>(doing: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(doing)).map_err(|panicked| words(&panicked))
}

/// Likewise for a future.
pub(super) async fn over<T>(doing: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(doing).catch_unwind().await.map_err(|panicked| words(&panicked))
}

fn words(panicked: &Panicked) -> String {
    let text = panicked.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panicked.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::{over, within};

    #[test]
    fn a_panic_is_told_in_its_own_words_and_goes_no_further() {
        let nothing: Vec<u8> = Vec::new();
        let refused = || Err::<u8, _>("no");
        assert_eq!(within(|| 7), Ok(7));
        assert_eq!(within(|| refused().expect("it is there")), Err("it is there: \"no\"".to_owned()));
        assert!(within(|| nothing[nothing.len()]).unwrap_err().contains("index out of bounds"));
        let later = async { refused().expect("it is there") };
        assert_eq!(over(later).now_or_never(), Some(Err("it is there: \"no\"".to_owned())));
        assert_eq!(over(async { 7 }).now_or_never(), Some(Ok(7)));
    }
}
