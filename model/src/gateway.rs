//! The gateway: what it makes of an answer or its absence, and when it makes an attempt again.

use crate::flaw::Flaw;
use crate::state::{Answer, Call, Request, RequestId, Response, State};

/// Attempts after the first.
const MAX_RETRIES: u8 = 2;

/// An attempt that got no answer that settles the request.
struct Failure {
    may_have_executed: bool,
    can_be_mended_by_a_retry: bool,
}

/// A client sends its request, for the first time or again.
pub fn post(state: &mut State, client: u8) {
    let number = state.responses(client).count();
    let request = RequestId {
        client,
        number: u8::try_from(number).unwrap_or(u8::MAX),
    };
    let user = state.wants[usize::from(client)];
    let open = Request::Open {
        user,
        attempt: 0,
        may_have_written: false,
    };
    state.requests.insert(request, open);
    state.calls.insert(Call {
        request,
        attempt: 0,
        user,
    });
}

/// An answer arrives. One that nobody waits for any more is dropped.
pub fn receive(state: &mut State, call: Call, answer: Answer, flaw: Option<Flaw>) {
    let Some(Request::Open {
        attempt,
        may_have_written,
        ..
    }) = state.requests.get_mut(&call.request)
    else {
        return;
    };
    if *attempt != call.attempt {
        return;
    }

    let response = match answer {
        Answer::Created => Response::Created { is_replay: false },
        // An attempt before may have been the earlier call.
        Answer::Replayed => Response::Created {
            is_replay: !*may_have_written,
        },
        Answer::EmailTaken => Response::EmailTaken,
        Answer::IdConflict => Response::IdConflict,
        Answer::NotExecuted | Answer::OutcomeUnknown => {
            let may_have_executed = answer == Answer::OutcomeUnknown;
            if !may_have_executed && flaw == Some(Flaw::OverloadedForgets) {
                *may_have_written = false;
            }
            let failure = Failure {
                may_have_executed,
                can_be_mended_by_a_retry: true,
            };
            return failed(state, call.request, &failure, flaw);
        }
    };
    end(state, call.request, response);
}

/// The link breaks while an attempt is in flight.
pub fn disconnected(state: &mut State, id: RequestId, flaw: Option<Flaw>) {
    let failure = Failure {
        may_have_executed: true,
        can_be_mended_by_a_retry: true,
    };
    failed(state, id, &failure, flaw);
}

/// The request's time is over while an attempt is in flight.
pub fn timed_out(state: &mut State, id: RequestId, flaw: Option<Flaw>) {
    let failure = Failure {
        may_have_executed: true,
        can_be_mended_by_a_retry: false,
    };
    failed(state, id, &failure, flaw);
}

/// There is no link for a call, or as many calls as allowed are in flight.
pub fn not_sent(state: &mut State, call: Call, flaw: Option<Flaw>) {
    state.calls.remove(&call);
    let failure = Failure {
        may_have_executed: false,
        can_be_mended_by_a_retry: false,
    };
    failed(state, call.request, &failure, flaw);
}

fn failed(state: &mut State, id: RequestId, failure: &Failure, flaw: Option<Flaw>) {
    let Some(Request::Open {
        user,
        attempt,
        may_have_written,
    }) = state.requests.get_mut(&id)
    else {
        return;
    };
    *may_have_written |= failure.may_have_executed;
    if failure.can_be_mended_by_a_retry && *attempt < MAX_RETRIES && state.retries_left > 0 {
        state.retries_left -= 1;
        *attempt += 1;
        let mut user = *user;
        if flaw == Some(Flaw::IdForEachAttempt) {
            user.id += 10 * *attempt;
        }
        let call = Call {
            request: id,
            attempt: *attempt,
            user,
        };
        state.calls.insert(call);
        return stop_waiting(state, id);
    }

    let is_unknown = *may_have_written && flaw != Some(Flaw::UnavailableWhereUnknown);
    let response = if is_unknown {
        Response::OutcomeUnknown
    } else {
        Response::NotExecuted
    };
    end(state, id, response);
}

/// Ends a request.
pub fn end(state: &mut State, id: RequestId, response: Response) {
    state.requests.insert(id, Request::Ended(response));
    stop_waiting(state, id);
}

/// Drops the answers to attempts that are over.
fn stop_waiting(state: &mut State, id: RequestId) {
    let answers = std::mem::take(&mut state.answers).into_iter();
    let is_awaited = |(call, _): &(Call, Answer)| call.request != id || state.is_awaited(call);
    state.answers = answers.filter(is_awaited).collect();
}
