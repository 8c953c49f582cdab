//! The list of the cases, for each log to run.

/// Runs every case against a log. `$open` makes a site with a fresh one.
macro_rules! contract {
    ($log:ident, $open:expr) => {
        contract!(@each $log, $open, log,
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
            what_is_trimmed_is_gone_and_stays_gone,
            a_member_is_assigned_then_served_then_at_the_end,
            an_append_wakes_a_waiting_member,
            a_poll_that_is_dropped_loses_nothing,
            a_paused_partition_waits,
            a_seek_reads_again,
            commits_are_found_again_and_atomic,
            generations_grow_and_offsets_outlive_their_members,
            metadata_is_bounded,
            members_see_growth,
            a_fenced_producer_leaves_nothing_to_see,
            a_transaction_that_is_refused_leaves_nothing_to_see;
            site,
            nothing_passes_what_was_not_taken_of_its_chain,
            members_share_and_commits_of_an_old_generation_are_stale,
            a_new_producer_finds_what_was_decided,
            partitions_take_turns,
            many_publishers_all_get_their_own_place,
            a_transaction_is_there_whole_with_gaps_behind,
            a_member_that_does_not_give_up_in_time_loses,
            a_compacted_topic_keeps_the_newest_of_each_key,
            a_reader_never_goes_back_in_time,
            retention_by_size_moves_the_start,
            retention_by_time_moves_the_start,
        );
    };
    (@each $log:ident, $open:expr, $of_log:ident, $($case:ident),*; $of_site:ident, $($site_case:ident,)*) => {
        mod $log {
            use super::*;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let site = $open;
                let case = cases::$case(cases::Site::log(&site));
                tokio::time::timeout(cases::PATIENCE, case).await.expect("the case hangs");
            })*
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $site_case() {
                let case = cases::$site_case($open);
                tokio::time::timeout(cases::PATIENCE, case).await.expect("the case hangs");
            })*
        }
    };
}
