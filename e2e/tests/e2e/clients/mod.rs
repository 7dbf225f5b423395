//! Our clients in Rust, Python and C++ against the live service, and the Python one with the first
//! published contract.
//!
//! Each behaviour of the table below is a test of each client: `clients::python::…`.

/// Tests of the two clients that are not in Rust, as modules `python` and `cpp`.
macro_rules! tests_of_foreign_clients {
    ($($module:ident::$behaviour:ident,)*) => {
        mod python {
            $(#[test]
            #[cfg_attr(
                not(has_python_venv),
                ignore = "needs python3 with venv; on Debian: apt-get install python3-venv"
            )]
            fn $behaviour() {
                crate::clients::$module::$behaviour(&crate::clients::Client::python());
            })*
        }

        mod cpp {
            $(#[test]
            #[cfg_attr(
                not(has_cpp_toolchain),
                ignore = "needs a C++ compiler with Cap'n Proto; on Debian: \
                          apt-get install g++ cmake pkg-config capnproto libcapnp-dev"
            )]
            fn $behaviour() {
                crate::clients::$module::$behaviour(&crate::clients::Client::cpp());
            })*
        }
    };
}

/// The same and those of the client in Rust, as a module `rust`.
macro_rules! tests_of_clients_of_this_contract {
    ($($module:ident::$behaviour:ident,)*) => {
        mod rust {
            $(#[test]
            fn $behaviour() {
                crate::clients::$module::$behaviour(&crate::clients::Client::rust());
            })*
        }

        tests_of_foreign_clients! { $($module::$behaviour,)* }
    };
}

mod client;
mod command_line;
pub mod conformance;
mod conformance_program;
mod create_many;
mod error_texts;
mod examples;
mod faults;
mod mutual_tls;
mod old_service;
mod outcomes;
mod packages;
mod service;
mod session;
mod table;
mod toolchains;

pub use client::{Client, output_of};

macro_rules! tests_of_every_client {
    ($($module:ident::$behaviour:ident,)*) => {
        tests_of_clients_of_this_contract! { $($module::$behaviour,)* }

        mod first_published_contract {
            $(#[test]
            #[cfg_attr(
                not(has_python_venv),
                ignore = "needs python3 with venv; on Debian: apt-get install python3-venv"
            )]
            fn $behaviour() {
                super::$module::$behaviour(&super::client::Client::of_first_published_contract());
            })*
        }
    };
}

tests_of_every_client! {
    outcomes::create_prints_the_user_as_it_is_stored,
    outcomes::create_without_an_id_picks_one,
    outcomes::create_again_with_the_same_fields_is_a_replay,
    outcomes::create_reports_every_field_at_fault,
    outcomes::create_with_an_email_of_another_user_is_refused,
    outcomes::create_with_the_id_of_another_user_is_refused,
    outcomes::create_that_ends_unknown_prints_the_id_that_settles_it,
    outcomes::create_that_no_message_can_carry_is_invalid_and_leaves_its_connection,
    outcomes::field_that_no_message_can_carry_is_named,
    outcomes::get_prints_a_stored_user,
    outcomes::get_says_when_no_user_has_the_id,
    outcomes::list_reads_every_user_page_by_page,
    outcomes::list_reports_every_field_at_fault,
    command_line::wrong_usage_is_told_from_other_failures,
    command_line::service_that_is_away_is_unavailable,
    conformance::create_has_the_outcome_that_its_attempts_allow,
    conformance::create_over_mutual_tls_has_the_same_outcome,
    faults::create_with_a_late_answer_is_unknown_until_it_is_repeated,
    faults::get_with_a_late_answer_is_unavailable_and_costs_its_connection,
    faults::get_with_a_late_answer_over_mutual_tls_costs_its_connection,
    faults::restarted_service_is_called_on_a_new_connection,
    faults::restarted_service_is_called_over_mutual_tls_again,
    faults::create_writes_nothing_while_the_service_is_away,
    mutual_tls::calls_over_mutual_tls_have_their_outcomes,
    mutual_tls::certificate_that_the_service_does_not_accept_is_unavailable,
    mutual_tls::expired_certificate_is_not_accepted,
    mutual_tls::service_that_the_client_does_not_accept_is_unavailable,
    mutual_tls::reader_reads_and_does_not_create,
    mutual_tls::replaced_certificate_is_shown_without_a_restart,
    old_service::lacking_method_is_reported_as_unimplemented,
}
