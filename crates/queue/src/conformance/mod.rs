//! One suite for every implementation of the ports.
//!
//! The promises above the traits of this crate are only worth what checks
//! them. [`conformance_suite!`](crate::conformance_suite) turns the one table below into a test per case, so an
//! implementation cannot forget one; a case that is not in the table does not compile without a warning.
//!
//! ```ignore
//! mod conformance {
//!     cresset_queue::conformance_suite!(super::MyHarness::new());
//! }
//! ```
//!
//! A case is skipped only because of a declared capability, and says so. [`remote_suite!`](crate::remote_suite) has the
//! cases of stores whose database is on another machine, [`parcels_suite!`](crate::parcels_suite) those of stores of parcels.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is a test suite: a panic is how a case fails"
)]

mod accept;
mod born;
mod bulks;
mod cancel;
mod close;
mod crowd;
mod deliver;
mod depth;
mod dice;
mod expire;
mod finish;
mod idempotency;
mod inbox;
mod later;
mod lease;
mod letters;
mod listing;
mod model;
mod order;
mod outbox;
mod parcels;
mod proxy;
mod random;
mod remote;
mod revoke;
mod shared;
mod sizes;
mod tenants;
mod world;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cresset_task::TaskId;

pub use self::dice::Dice;
pub use self::inbox::{entry as inbox_entry, query as inbox_query, take as inbox_take};
pub use self::parcels::{ParcelsCase, ParcelsHarness, check_parcels};
pub use self::proxy::IsAnswer;
pub use self::proxy::Proxy;
pub use self::remote::{RemoteCase, RemoteHarness, check_remote};
use self::world::World;
pub use self::world::{ALL, at, giving_up, model, request, success, task};
use crate::Backend;
use crate::kit::Ttl;

/// What the suite needs of an implementation. Each case gets a fresh one.
#[async_trait]
pub trait Harness: Send + Sync {
    /// Opens the store: an empty one the first time, after a `close` the same one again.
    async fn open(&self) -> Arc<dyn Backend>;

    /// Ends `store` as the death of its process would, without `close` and with its leases outstanding, and opens what
    /// it left. Every store survives this; [`durable`](crate::Capabilities::durable) is about the death of the machine,
    /// which no test here can bring about.
    async fn crash(&self, store: Arc<dyn Backend>) -> Arc<dyn Backend>;

    /// Opens the same store beside those that are open, as another server does; `None` where a store belongs to one.
    async fn open_beside(&self) -> Option<Arc<dyn Backend>> {
        None
    }

    /// Ends one of several, as the death of its process would, and leaves the others.
    async fn crash_one(&self, store: Arc<dyn Backend>) {
        drop(store);
    }

    /// Bytes of stored form above which the store keeps a payload in another way, if there are such. The suite plays on
    /// both sides of each.
    fn turning_points(&self) -> Vec<usize> {
        Vec::new()
    }

    /// Applications beside the store; `None` where it has no inbox for them.
    fn applications(&self) -> Option<&dyn Applications> {
        None
    }

    /// How long the store keeps things: dead letters and settled deliveries for longer than finished tasks.
    fn ttl(&self) -> Ttl;

    /// The most records one `purge` may remove.
    fn purge_max(&self) -> usize;
}

/// Applications that write into the store's inbox by SQL. The store is opened so that their tasks are [`INBOX_TENANT`]'s.
#[async_trait]
pub trait Applications: Send + Sync {
    /// Begins a transaction, and writes a row for each model and input (JSON) in their order; gives the rows' ids.
    async fn begin(&self, rows: &[(&str, String)]) -> (Vec<TaskId>, Box<dyn Transaction>);

    /// Writes a row that has the id of another task.
    async fn write_as(&self, id: TaskId, model: &str, input: &str);

    /// Begins a transaction, and locks a row that is there.
    async fn hold(&self, id: TaskId) -> Box<dyn Transaction>;

    /// Rows that are there, and the errors of those that have one.
    async fn left(&self) -> (usize, Vec<String>);
}

/// A transaction of an application.
#[async_trait]
pub trait Transaction: Send {
    /// Commits it, or rolls it back.
    async fn end(self: Box<Self>, commits: bool);
}

/// Whose the tasks of the inbox are in all cases.
pub const INBOX_TENANT: &str = "shop";

/// No case takes a tenth of this; it turns a hang into a failure.
const CASE_LIMIT: Duration = Duration::from_secs(120);

macro_rules! table {
    ($d:tt $($module:ident { $($case:ident,)* })*) => {
        /// One promise, checked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(non_camel_case_types, reason = "a case is named by a sentence, and so is its test")]
        pub enum Case {
            $($(#[doc = concat!("`", stringify!($module), "`")] $case,)*)*
        }

        impl Case {
            /// Every case.
            pub const ALL: &'static [Self] = &[$($(Self::$case,)*)*];
        }

        async fn play(case: Case, world: World) {
            match case {
                $($(Case::$case => $module::$case(world).await,)*)*
            }
        }

        /// A test for every case of the suite. Takes an expression that makes a fresh
        /// [`Harness`](crate::conformance::Harness), or `or_skip` and one that makes it if what it needs is there.
        #[macro_export]
        macro_rules! conformance_suite {
            ($d harness:expr) => {
                $d crate::conformance_suite!(or_skip Some($d harness));
            };
            (or_skip $d harness:expr) => {
                $($(
                    #[test]
                    fn $case() {
                        if let Some(harness) = $d harness {
                            $d crate::conformance::check($d crate::conformance::Case::$case, harness);
                        }
                    }
                )*)*
            };
        }
    };
}

table! { $
    accept {
        a_submitted_task_is_pending_with_all_that_was_said_of_it,
        an_accepted_task_survives_a_crash,
        every_kind_of_payload_comes_back_as_it_was,
        a_taken_id_is_refused_and_changes_nothing,
        a_taken_id_is_refused_after_a_crash_and_after_its_end,
        an_id_never_seen_is_unknown,
    }
    idempotency {
        the_same_submit_again_gives_the_same_task,
        a_key_with_another_digest_is_refused_and_changes_nothing,
        of_many_submits_with_one_key_exactly_one_makes_a_task,
        a_key_is_known_after_a_crash_and_after_a_clean_stop,
        a_key_is_known_as_long_as_its_task_and_free_after_its_purge,
        each_model_has_keys_of_its_own,
        a_refused_submit_does_not_take_its_key,
    }
    order {
        first_accepted_is_first_leased,
        higher_priority_goes_first,
        a_task_that_has_waited_long_enough_goes_before_a_higher_priority,
        strict_priorities_are_not_overtaken_by_age,
        a_lease_tells_the_turn,
        each_model_has_its_own_queue,
        order_survives_a_crash,
        position_counts_those_that_go_before,
        position_is_for_queued_tasks_only,
        position_is_counted_only_so_far,
    }
    lease {
        an_empty_queue_gives_an_empty_answer,
        no_more_are_leased_than_asked_for,
        leases_stop_before_they_weigh_too_much,
        the_first_is_leased_whatever_it_weighs,
        a_leased_task_is_started_and_not_leased_again,
        a_released_task_keeps_its_place_and_its_attempts,
        a_lease_says_what_a_cache_may_do,
        how_a_task_is_tried_again_goes_with_its_leases_and_is_shown,
        the_trace_of_a_task_goes_with_its_leases_and_is_shown,
        a_stale_release_changes_nothing,
        leases_end_with_their_process,
        leases_end_with_a_clean_stop,
    }
    born {
        a_task_that_is_born_leased_is_started_and_not_leased_to_another,
        a_task_that_is_born_leased_is_not_counted_until_it_is_queued,
        the_end_of_a_task_that_was_born_leased_is_fenced,
        a_task_that_was_born_leased_comes_back_when_its_holder_dies,
        a_task_that_was_born_leased_comes_back_after_a_clean_stop,
        a_task_that_was_born_leased_is_tried_again_and_stopped_as_any_other,
        a_task_that_is_born_leased_has_its_key,
        that_a_task_was_born_leased_is_told_as_a_start,
    }
    finish {
        every_kind_of_outcome_is_kept_and_shown,
        runs_under_one_lease_count_as_attempts,
        a_recorded_outcome_survives_a_crash,
        only_the_holder_of_the_lease_ends_a_task,
        the_first_outcome_stays,
        answers_stand_in_the_order_of_completions,
        of_many_finishers_exactly_one_is_recorded,
        a_holder_from_before_a_crash_is_stale,
        each_step_of_a_life_is_shown_as_soon_as_it_is_answered,
    }
    later {
        a_delayed_task_is_not_leased_before_its_time,
        a_delayed_task_takes_its_place_when_it_is_due,
        a_delay_survives_a_crash,
        depth_tells_what_waits_for_its_time,
        a_retried_task_runs_again_when_it_is_due,
        a_retry_survives_a_crash,
        a_stale_retry_changes_nothing,
        a_history_is_shown_and_kept_short,
        the_end_of_a_process_is_part_of_the_history,
    }
    revoke {
        a_queued_task_is_cancelled_and_never_leased,
        a_delayed_and_a_retried_task_can_be_cancelled,
        a_leased_task_is_cancelled_and_its_holder_is_stale,
        a_cancellation_survives_a_crash,
        what_has_ended_cannot_be_cancelled,
        of_a_cancellation_and_a_completion_exactly_one_wins,
        an_expired_task_is_never_leased,
        an_expired_task_is_revoked_when_asked_and_its_depth_goes,
        a_leased_task_past_its_deadline_is_revoked_and_its_holder_is_stale,
        a_deadline_is_for_what_is_held_and_survives_a_crash,
        a_leased_task_does_not_expire,
        expiries_are_bounded_and_tell_the_next,
    }
    sizes {
        payloads_of_every_size_come_back_as_they_were,
        payloads_of_every_size_survive_a_crash,
        large_and_small_wait_in_one_line,
        a_refused_submit_does_not_touch_a_large_input,
        of_many_finishers_with_large_outcomes_exactly_one_is_recorded,
        a_large_outcome_that_comes_too_late_changes_nothing,
    }
    expire {
        a_finished_task_is_kept_for_its_time_and_not_longer,
        an_expired_id_is_remembered_and_then_forgotten,
        an_open_task_never_expires,
        a_purge_is_bounded_and_ends_with_zero,
        expiry_survives_a_crash,
    }
    depth {
        depth_is_exact_through_every_operation,
        depth_is_exact_after_a_crash,
        a_probe_of_a_working_store_changes_nothing,
        what_a_client_has_queued_is_counted_through_every_operation,
        what_a_client_has_queued_is_counted_after_a_crash,
    }
    listing {
        tasks_are_listed_newest_first_page_by_page,
        a_list_says_where_each_task_stands,
        what_is_purged_is_no_longer_listed,
    }
    letters {
        a_guilty_task_leaves_a_letter_with_its_evidence_and_its_input,
        an_end_without_evidence_or_too_late_leaves_no_letter,
        a_letter_and_its_input_survive_a_crash,
        a_letter_outlives_its_task_for_its_own_time,
        letters_are_listed_newest_first_page_by_page,
        a_replay_is_a_new_task_that_says_what_it_replays,
        of_many_replays_exactly_one_makes_a_task,
        a_replayed_letter_answers_with_its_task_for_ever,
        what_is_no_letter_is_not_replayed,
        letters_are_thrown_away_by_id_by_model_and_by_age,
        a_letter_thrown_away_leaves_its_replay,
        what_a_letter_keeps_of_a_log_is_bounded,
        a_discard_is_bounded_and_ends_with_zero,
    }
    tenants {
        an_owner_is_known_from_submit_to_the_end_of_memory,
        a_list_can_be_of_one_tenant,
        a_letter_and_its_replay_are_of_the_tasks_tenant,
        each_tenant_has_keys_of_its_own,
    }
    outbox {
        every_kind_of_end_leaves_a_delivery_that_survives_a_crash,
        only_what_the_filter_has_is_told,
        a_task_without_a_callback_tells_nobody,
        a_stale_completion_tells_nothing,
        starts_and_retries_are_told_with_their_attempt,
        a_newer_event_takes_the_place_of_what_waits,
        of_one_task_one_is_sent_at_a_time,
    }
    deliver {
        a_delivery_has_one_holder_and_a_fence,
        a_delivery_being_sent_waits_again_after_a_crash,
        what_was_not_taken_is_sent_again_when_it_is_due,
        each_host_has_its_own_room,
        many_hosts_are_walked_in_bounded_steps,
        an_address_that_is_gone_is_disabled_until_something_is_redelivered,
        a_redelivery_keeps_its_name_and_begins_anew,
        deliveries_are_listed_newest_first_page_by_page,
        what_is_open_outlives_its_task_and_what_is_settled_its_time,
        what_is_to_be_told_is_counted_through_every_operation,
        a_note_is_cut_to_its_bound,
    }
    bulks {
        the_lines_of_a_bulk_are_tasks_and_are_found_in_order,
        a_key_makes_one_bulk_also_across_a_crash,
        a_line_is_accepted_once_however_often_it_is_added,
        of_many_who_add_the_same_lines_each_line_is_accepted_once,
        lines_are_added_all_or_none,
        a_sealed_bulk_takes_no_more_and_knows_how_many_it_has,
        a_cancelled_bulk_takes_no_more_and_its_open_tasks_are_found,
        a_bulk_is_counted_as_its_tasks_are,
        a_bulk_is_kept_as_long_as_its_tasks,
        bulks_are_listed_newest_first_page_by_page,
    }
    inbox {
        what_is_committed_is_a_task_before_and_after_it_is_taken_and_what_is_rolled_back_never_was,
        the_bell_rings_for_what_is_committed,
        rows_come_in_order_within_bounds,
        a_model_that_is_skipped_hides_no_other,
        however_many_take_at_once_each_row_is_one_task,
        a_row_that_somebody_holds_is_passed_over,
        an_id_that_is_taken_changes_nothing_and_its_row_is_kept_with_the_reason,
        a_row_that_does_not_run_is_a_task_that_has_ended_and_counts_nowhere,
        what_was_taken_is_a_task_after_a_crash_and_what_was_not_waits,
    }
    close {
        a_closed_store_answers_closed,
        closing_twice_or_at_once_is_fine,
        what_was_begun_is_finished_before_a_close,
        a_closed_store_opens_again_with_everything,
    }
    cancel {
        a_dropped_lease_is_given_back,
        a_dropped_lease_of_large_inputs_is_given_back,
        a_dropped_submit_happened_whole_or_not_at_all,
        a_dropped_submit_of_a_large_input_happened_whole_or_not_at_all,
        a_dropped_finish_with_a_large_outcome_happened_whole_or_not_at_all,
    }
    shared {
        what_one_accepts_another_runs_and_nobody_else_ends,
        a_cancellation_reaches_the_holder_wherever_it_is,
        leases_of_a_server_that_died_come_back_and_those_of_one_that_lives_stay,
        who_leaves_gives_back_what_it_has_at_once,
        a_task_that_is_born_leased_is_its_submitters_until_that_dies,
        what_a_server_serves_is_known_to_the_others_while_it_is_there,
        what_servers_say_of_themselves_is_told_shown_and_remembered,
        of_many_servers_each_task_has_one_holder,
        all_servers_come_to_the_same_counts,
        one_key_makes_one_task_wherever_it_is_sent,
        what_many_expire_and_purge_at_once_goes_once,
        the_lines_of_a_bulk_are_accepted_once_by_whomever,
    }
    crowd {
        many_submitters_and_leasers_lose_nothing_and_double_nothing,
    }
    random {
        a_known_random_life_is_like_the_model,
        a_new_random_life_is_like_the_model,
    }
}

/// Plays one case against a fresh harness; panics when the promise is broken.
pub fn check(case: Case, harness: impl Harness + 'static) {
    limited(format!("{case:?}"), async {
        let world = World::open(Box::new(harness)).await;
        play(case, world).await;
    });
}

/// Plays it to its end, which comes in time.
fn limited(case: String, play: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let played = runtime.block_on(async { tokio::time::timeout(CASE_LIMIT, play).await });
    assert!(played.is_ok(), "{case} did not end within {CASE_LIMIT:?}");
}
