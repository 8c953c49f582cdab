//! What every log must do, written over the traits alone: one list of cases, run against each log.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a failed test panics")]

#[path = "contract/cases.rs"]
mod cases;

/// Runs every case against a log. `$open` gives a fresh log and something that keeps it alive.
macro_rules! contract {
    ($log:ident, $open:expr) => {
        contract!(@each $log, $open,
            an_append_reads_back_at_its_position,
            appends_are_in_the_order_of_their_calls,
            keys_decide_the_partition_as_java_does,
            records_without_a_key_spread,
            tombstones_and_headers_read_back,
            what_cannot_be_appended_is_rejected,
            topics_grow_and_never_shrink,
            the_largest_record_never_shrinks,
            reads_are_bounded_and_resume,
            timestamps_never_fall_and_are_found,
            a_member_is_assigned_then_served_then_at_the_end,
            an_append_wakes_a_waiting_member,
            a_poll_that_is_dropped_loses_nothing,
            partitions_take_turns,
            a_paused_partition_waits,
            a_seek_reads_again,
            commits_are_found_again_and_atomic,
            a_newer_member_takes_over,
            generations_grow_and_offsets_outlive_their_members,
            metadata_is_bounded,
            members_see_growth,
            many_publishers_all_get_their_own_place,
        );
    };
    (@each $log:ident, $open:expr, $($case:ident,)*) => {
        mod $log {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let (log, _keep) = $open;
                let case = super::cases::$case(log);
                tokio::time::timeout(std::time::Duration::from_mins(1), case).await.expect("the case hangs");
            })*
        }
    };
}

contract!(embedded, {
    let dir = tempfile::tempdir().unwrap();
    (evhub_journal::Embedded::open(evhub_journal::embedded::Options::new(dir.path())).unwrap(), dir)
});
